// The one player of the page: what it plays, what comes next, and who follows it.
import {at, icon, request} from "./api.js";
import {clock, t} from "./i18n.js";
import {picture} from "./icons.js";

const audio = at("audio"), seek = at("player-seek"), followers = new Map();
let current = null, name = "", queue = null;  // queue: {tracks, index}
let skipping = null;  // a timer, after a track that can't be played
let loads = 0;  // how often the player has got a file

export const follow = (key, show) => followers.set(key, show);
export const isPlaying = (key) => current === key && !audio.paused;

export function forget(key) {
  followers.delete(key);
  if (current !== key) return;
  audio.pause();
  audio.removeAttribute("src");
  current = queue = null;
  at("player").hidden = true;
  document.body.classList.remove("has-player");
}

function tell() {
  for (const [key, show] of followers) show(key === current ? audio.currentTime : null, isPlaying(key));
  for (const button of document.querySelectorAll("[data-play]")) showPlaying(button);
  at("player-toggle").replaceChildren(picture(audio.paused ? "play" : "pause"));
  at("player-toggle").setAttribute("aria-label", audio.paused ? t("play") : t("pause"));
  at("player-previous").hidden = at("player-next").hidden = !queue;
  const focused = document.activeElement;
  at("player-previous").disabled = !queue?.index;
  at("player-next").disabled = !queue || queue.index >= queue.tracks.length - 1;
  if ([at("player-previous"), at("player-next")].includes(focused) && (focused.disabled || focused.hidden)) at("player-toggle").focus();
  showTime();
  document.dispatchEvent(new CustomEvent("playing", {detail: current}));
}

function showTime() {
  const length = Number.isFinite(audio.duration) ? audio.duration : 0;
  seek.max = length || 1;
  seek.value = audio.currentTime;
  seek.style.setProperty("--done", `${100 * audio.currentTime / (length || 1)}%`);
  seek.setAttribute("aria-valuetext", t("timeOf", clock(audio.currentTime), clock(length)));
  at("player-time").textContent = `${clock(audio.currentTime)} / ${clock(length)}`;
}

for (const each of ["play", "pause", "ended", "seeked", "loadedmetadata"]) audio.addEventListener(each, tell);
audio.addEventListener("ended", () => step(1));
audio.addEventListener("error", () => {
  if (!current) return;
  at("player-name").textContent = t("cannotPlay");
  explain(current);
  const failed = current, list = queue;  // a playlist goes on, unless the user has chosen something else meanwhile
  clearTimeout(skipping);
  skipping = list && setTimeout(() => { skipping = null; if (current === failed && queue === list && audio.error) step(1); }, 1500);
});
// The browser does not tell why: the service may, for a file that is gone, or while it is busy.
async function explain(failed) {
  const address = audio.getAttribute("src");
  if (!address.startsWith("/v1/")) return;
  try { await request(address, {headers: {Range: "bytes=0-0"}}); }
  catch (problem) { if (current === failed && audio.error) at("player-name").textContent = `${t("cannotPlay")} (${problem.message})`; }
}
seek.addEventListener("input", () => { audio.currentTime = seek.value; });
at("player-volume").addEventListener("input", (e) => { audio.volume = e.target.value; e.target.style.setProperty("--done", `${100 * e.target.value}%`); });
at("player-toggle").addEventListener("click", () => {
  if (skipping) { clearTimeout(skipping); skipping = null; }  // stay here
  else if (audio.error) play(current, name, audio.src);  // once more
  else if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
});
at("player-previous").addEventListener("click", () => step(-1));
at("player-next").addEventListener("click", () => step(1));

function frame() {
  if (current && !audio.paused) { followers.get(current)?.(audio.currentTime, true); showTime(); }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

function step(by) {
  if (!queue) return;
  let index = queue.index + by;
  while (queue.tracks[index]?.is_remote) index += by;
  if (queue.tracks[index]) playTrack(queue.tracks[index], {tracks: queue.tracks, index});
}

export async function play(key, title, address, from = null, list = null) {
  if (current !== key || audio.error) {  // what failed is requested again
    if (current !== key) queue = list;
    current = key; name = title;
    at("player").hidden = false;
    document.body.classList.add("has-player");
    loads++;
    audio.src = address;
  } else if (from === null && !audio.paused) { audio.pause(); return; }
  at("player-name").textContent = name;
  if (from !== null) {
    const own = loads;
    if (audio.readyState < 1) await new Promise((done) => { for (const e of ["loadedmetadata", "error"]) audio.addEventListener(e, done, {once: true}); });
    if (own !== loads) return;  // another track was chosen meanwhile
    audio.currentTime = from;
  }
  await audio.play().catch(() => {});
  tell();
}

export function playTrack(track, list = null) {
  if (track.is_remote) return null;  // its file is at an address
  if (list && current === track.id) queue = list;
  return play(track.id, track.name, `/v1/tracks/${track.id}/audio`, null, list);
}

// A button that plays a track, and shows whether it plays.
export function playButton(track, list = () => null) {
  if (track.is_remote) return icon("play", t("atAddress", track.name), null, {disabled: true});
  const button = icon("play", "", () => playTrack(track, list()), {"data-play": track.id, "data-name": track.name});
  showPlaying(button);
  return button;
}

function showPlaying(button) {
  const playing = isPlaying(button.dataset.play), label = `${playing ? t("pause") : t("play")}: ${button.dataset.name}`;
  if (button.getAttribute("aria-label") === label) return;
  button.replaceChildren(picture(playing ? "pause" : "play"));
  button.setAttribute("aria-label", label);
  button.title = label;
}
