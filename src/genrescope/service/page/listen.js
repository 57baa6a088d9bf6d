// Drop, choose or record; results as they are computed.
import {announce, at, dot, el, events, icon, looks, named} from "./api.js";
import {answered, clock, percent, t, translated} from "./i18n.js";
import {picture} from "./icons.js";
import {Level} from "./level.js";
import {MapView} from "./map.js";
import {follow, forget, play, playButton} from "./player.js";

let level, number = 0, waiting = Promise.resolve();
export const shared = {map: null, mapDrawn: Promise.resolve(), hasLibrary: false};

export function start() {
  const drop = at("drop"), files = at("files");
  level = new Level(at("level"));
  files.addEventListener("change", () => { take([...files.files]); files.value = ""; });
  for (const each of ["dragenter", "dragover"]) addEventListener(each, (e) => { if (e.dataTransfer?.types.includes("Files")) { e.preventDefault(); drop.classList.add("over"); } });
  addEventListener("dragleave", (e) => { if (!e.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (e) => {
    drop.classList.remove("over");
    if (!e.dataTransfer?.files.length) return;
    e.preventDefault(); location.hash = "listen"; take([...e.dataTransfer.files]);
  });
  at("record").addEventListener("click", record);
  const local = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);
  at("private").textContent = local ? t("private") : t("privateAt", location.hostname);
}

function take(files) {
  document.body.classList.add("compact");
  for (const file of files) {
    const result = new Result(file, `upload-${++number}`);
    at("results").prepend(result.element);
    waiting = waiting.then(() => result.run());
  }
}

let recorder = null;
// While the browser asks for the microphone, and until a recording has ended, the button does nothing. It isn't disabled: it keeps the focus.
const isBusy = () => at("record").getAttribute("aria-disabled") === "true";
const setBusy = (busy) => at("record").setAttribute("aria-disabled", busy);
async function record() {
  const button = at("record"), label = button.lastElementChild;
  if (isBusy()) return;
  setBusy(true);
  if (recorder) { if (recorder.state !== "inactive") recorder.stop(); return; }
  at("record-problem").textContent = "";
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
    recorder = new MediaRecorder(stream);
    recorder.start();
  } catch {
    for (const track of stream?.getTracks() ?? []) track.stop();
    recorder = null;
    at("record-problem").textContent = t("microphoneDenied");
    setBusy(false);
    return;
  }
  const pieces = [], started = Date.now();
  recorder.ondataavailable = (e) => pieces.push(e.data);
  const tick = setInterval(() => { label.textContent = `${t("stop")} ${clock((Date.now() - started) / 1000)}`; }, 250);
  recorder.onstop = () => {
    clearInterval(tick);
    level.rest();
    for (const track of stream.getTracks()) track.stop();
    button.classList.remove("recording"); label.textContent = t("record");
    const type = recorder.mimeType.split(";")[0];
    recorder = null;
    setBusy(false);
    take([new File(pieces, `${t("microphone")}.${type.endsWith("mp4") ? "m4a" : "webm"}`, {type})]);
  };
  level.follow(stream);
  button.classList.add("recording"); label.textContent = `${t("stop")} 0:00`;
  setBusy(false);
}

class Result {
  constructor(file, key) {
    Object.assign(this, {file, key, duration: 0, segments: [], picture: null, address: URL.createObjectURL(file), stop: new AbortController()});
    this.verdict = el("p", {class: "verdict"}, "…");
    this.state = el("p", {class: "quiet"}, t("queued"));
    this.bars = el("ul", {class: "bars"});
    this.tags = el("ul", {class: "tags"});
    this.canvases = Object.fromEntries(["mel", "wave", "ribbon"].map((each) => [each, el("canvas", {class: each, "aria-hidden": "true"})]));
    this.head = el("div", {class: "head", hidden: true});
    this.strip = el("div", {class: "strip", tabindex: "0", role: "slider", "aria-label": `${t("position")}: ${file.name}`, "aria-valuemin": "0", "aria-valuemax": "0",
      "aria-valuenow": "0", "aria-valuetext": "0:00", title: t("seekHelp")}, ...Object.values(this.canvases), this.head);
    this.button = el("button", {type: "button", class: "primary", onclick: () => play(this.key, file.name, this.address)}, picture("play"), el("span", {}, t("play")));
    this.time = el("span", {class: "quiet"}, "");
    this.sections = el("ul", {class: "sections"});
    this.more = el("div", {class: "two"});
    this.element = el("article", {class: "result", "aria-busy": "true"},
      el("div", {class: "result-grid"},
        el("div", {}, el("div", {class: "result-name"}, el("h2", {}, named(file.name)), icon("close", t("removeResult", file.name), () => this.remove())), this.verdict, this.state, this.bars, this.tags),
        el("div", {}, this.strip, el("div", {class: "strip-foot"}, this.button, this.time), this.sections)),
      this.more);
    this.strip.addEventListener("click", (e) => {
      const box = this.strip.getBoundingClientRect();
      this.seek((e.clientX - box.left) / box.width * this.duration);
    });
    this.strip.addEventListener("keydown", (e) => {
      const by = {ArrowLeft: -5, ArrowRight: 5, PageDown: -30, PageUp: 30}[e.key];
      if (by) { e.preventDefault(); this.seek((this.now ?? 0) + by); }
      else if (e.key === "Home") { e.preventDefault(); this.seek(0); }
      else if (e.key === "End") { e.preventDefault(); this.seek(this.duration - 1); }
      else if (e.key === " " || e.key === "Enter") { e.preventDefault(); this.button.click(); }
    });
    follow(key, (seconds, playing) => this.showTime(seconds, playing));
    new ResizeObserver(() => this.draw()).observe(this.strip);
  }

  remove() {
    this.stop.abort();
    forget(this.key);
    URL.revokeObjectURL(this.address);
    this.element.remove();
    at("files").focus();
  }

  seek(seconds) { if (this.duration) play(this.key, this.file.name, this.address, Math.max(0, Math.min(this.duration - 0.05, seconds))); }

  showTime(seconds, playing) {
    this.button.firstElementChild.replaceWith(picture(playing ? "pause" : "play"));
    this.button.lastElementChild.textContent = playing ? t("pause") : t("play");
    if (seconds === null) { this.head.hidden = true; return; }
    this.now = seconds;
    this.head.hidden = !this.duration;
    this.head.style.left = `${100 * Math.min(1, seconds / (this.duration || 1))}%`;
    this.time.textContent = `${clock(seconds)} / ${clock(this.duration)}`;
    this.strip.setAttribute("aria-valuenow", seconds.toFixed(1));
    this.strip.setAttribute("aria-valuetext", `${clock(seconds)}, ${this.genreAt(seconds) ?? ""}`);
  }

  genreAt(seconds) { return this.segments.find((each) => seconds >= each.start && seconds < each.end)?.genre; }

  async run() {
    if (!this.element.isConnected) return;  // removed before its turn
    this.state.textContent = t("uploading");
    const form = new FormData();
    for (const each of ["timeline", "picture"]) form.append(each, "true");
    form.append("similar", String(shared.hasLibrary));
    form.append("file", this.file, this.file.name);
    for (let attempt = 0; ; attempt++) {
      try {
        for await (const event of events("/v1/classify", form, this.stop.signal)) this[`on_${event.kind}`]?.(event);
        break;
      } catch (problem) {
        if (!this.element.isConnected) return;  // removed meanwhile
        if (problem.status === 503 && attempt < 20) {
          this.state.textContent = t("busy");
          await new Promise((done) => setTimeout(done, 1000 * problem.retryAfter));
          continue;
        }
        this.on_problem({detail: problem.message});
        break;
      }
    }
    this.element.setAttribute("aria-busy", "false");
  }

  // --- Events of the service, by their names ---

  on_sound({duration}) { this.setDuration(duration); this.state.textContent = t("reading"); }

  on_file({waiting}) { if (waiting) this.state.textContent = t("waitingFor", waiting); }

  on_segments({segments, probabilities}) {
    this.segments.push(...segments);
    // Whether it is music at all is known at the end, so that no genre is named as the result before.
    this.state.textContent = t("soFar");
    this.showBars(Object.entries(probabilities).sort((a, b) => b[1] - a[1]));
    this.draw();
  }

  on_prediction({prediction}) {
    this.segments = prediction.timeline;
    this.setDuration(prediction.duration);
    this.state.textContent = prediction.warnings.map(translated).join(" ");
    if (prediction.genre === null) { this.verdict.textContent = t("noGenre"); this.bars.replaceChildren(); }
    else {
      this.showVerdict(prediction);
      this.showBars(Object.entries(prediction.probabilities));
    }
    for (const group of ["styles", "instruments", "moods"]) for (const name of Object.keys(prediction[group] ?? {}).slice(0, 5)) this.tags.append(el("li", {}, name));
    this.sections.replaceChildren(...prediction.sections.map((each) => el("li", {}, dot(each.genre), `${clock(each.start)}–${clock(each.end)} ${each.genre}`)));
    announce(t("done", this.file.name, prediction.genre === null ? t("noGenre") : answered(prediction)));
    this.draw();
  }

  on_picture(picture) { this.picture = {...picture, peaks: bytes(picture.peaks), mel: bytes(picture.mel)}; this.draw(); }

  on_similar({tracks, position, detail}) {
    const list = el("ol", {class: "track-list"}, ...tracks.slice(0, 6).map((track) => el("li", {},
      playButton(track), el("span", {class: "name"}, named(track.name)), el("span", {class: "meta"}, dot(track.corrected_genre ?? track.genre), track.corrected_genre ?? track.genre ?? "", " ", percent(Math.max(0, track.similarity))))));
    this.more.replaceChildren(el("div", {}, el("h3", {}, t("sounds")), tracks.length ? list : el("p", {class: "quiet"}, detail ? translated(detail) : t("noneAlike"))));
    if (position) {
      const canvas = el("canvas", {class: "small-map", role: "img", "aria-label": t("onMap")});
      this.more.append(el("div", {}, el("h3", {}, t("onMap")), canvas));
      const view = new MapView(canvas, {still: true});
      view.mark = position;
      shared.mapDrawn.then(() => view.set(shared.map?.tracks ?? [], shared.map?.extent));
    }
  }

  on_problem({detail}) {
    this.verdict.textContent = "–";
    this.state.className = "problem"; this.state.setAttribute("role", "alert");
    this.state.textContent = t("failed", this.file.name, translated(detail));
    this.element.classList.add("failed");
  }

  // --- Drawing ---

  setDuration(duration) {
    this.duration = duration;
    this.time.textContent = clock(duration);
    this.strip.setAttribute("aria-valuemax", duration.toFixed(1));
  }

  // Where either of two genres may be right, with the probabilities of both.
  showVerdict(prediction) {
    const text = answered(prediction), both = Object.entries(prediction.probabilities).slice(0, 2);
    const certainty = text === prediction.genre ? t("certain", percent(prediction.confidence)) : both.map(([genre, value]) => `${genre} ${percent(value)}`).join(", ");
    this.verdict.replaceChildren(text, " ", el("small", {}, certainty));
  }

  showBars(ranked) {
    this.bars.replaceChildren(...ranked.slice(0, 5).map(([genre, value]) => el("li", {}, el("span", {}, dot(genre), genre),
      el("span", {class: "track", "aria-hidden": "true"}, el("span", {class: "fill", style: {display: "block", width: `${100 * value}%`, background: looks.get(genre)?.colour ?? "#888"}})),
      el("span", {class: "value"}, percent(value)))));
  }

  draw() {
    const {mel, wave, ribbon} = this.canvases, width = this.strip.clientWidth;
    if (!width) return;
    if (this.picture) { drawMel(mel, this.picture); drawWave(wave, this.picture, (x) => this.colourAt(x * this.duration)); }
    const p = fresh(ribbon);
    for (const each of this.segments) {
      const x = each.start / this.duration * width, next = this.segments[this.segments.indexOf(each) + 1];
      p.globalAlpha = 0.35 + 0.65 * (each.probabilities[each.genre] ?? 1);
      p.fillStyle = looks.get(each.genre)?.colour ?? "#888";
      p.fillRect(x, 0, ((next?.start ?? each.end) - each.start) / this.duration * width + 0.5, ribbon.clientHeight);
    }
  }

  colourAt(seconds) { return looks.get(this.genreAt(seconds))?.colour ?? "#9fb3bf"; }
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function fresh(canvas) {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  const p = canvas.getContext("2d");
  p.scale(ratio, ratio);
  return p;
}

function drawMel(canvas, {columns, bands, mel}) {
  const image = new ImageData(columns, bands);
  for (let band = 0; band < bands; band++) for (let column = 0; column < columns; column++) {
    const v = mel[band * columns + column] / 255, i = 4 * ((bands - 1 - band) * columns + column);
    image.data.set([20 + 235 * v ** 1.6, 28 + 190 * v ** 2.1, 38 + 110 * v ** 0.9 - 60 * v ** 3, 255], i);
  }
  const small = new OffscreenCanvas(columns, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  fresh(canvas).drawImage(small, 0, 0, canvas.clientWidth, canvas.clientHeight);
}

function drawWave(canvas, {columns, peaks}, colour) {
  const p = fresh(canvas), w = canvas.clientWidth, h = canvas.clientHeight, most = Math.max(1, ...peaks);
  for (let x = 0; x < w; x += 3) {
    const peak = peaks[Math.floor(x / w * columns)] / most, size = Math.max(1, peak * (h - 8));
    p.fillStyle = colour(x / w);
    p.fillRect(x, (h - size) / 2, 2, size);
  }
}
