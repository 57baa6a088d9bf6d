// Selection, search, pointer and keyboard of the map; `map-drawing.js` stands before it.

// --- Which track ---------------------------------------------------------------------------------

function reachable(track) {
  return track.shown && (track.found || !words);
}

function near(x, y, reach) {
  const hits = [];
  for (const track of order) {
    if (!reachable(track)) continue;
    const [tx, ty] = toScreen(track);
    const away = Math.hypot(tx - x, ty - y);
    if (away <= Math.max(reach, radius(track) + 2)) hits.push([away, track]);
  }
  return hits.sort((a, b) => a[0] - b[0]).map(([, track]) => track);
}

function describe(track) {
  return `${data.genres[track.genre].name}, ${Math.floor(100 * track.confidence + 1e-9)} %`;
}

function hover(track, x, y) {
  const tip = at("tip");
  if (track !== hovered) {
    hovered = track;
    canvas.classList.toggle("over", Boolean(track));
    tip.hidden = !track;
    if (track) {
      const name = document.createElement("b"), genre = document.createElement("span");
      name.textContent = track.name;
      genre.textContent = describe(track);
      tip.replaceChildren(name, genre);
      if (track.labels) {
        const labels = document.createElement("span");
        labels.textContent = track.labels;
        tip.append(labels);
      }
    }
    redraw();
  }
  if (track) {
    const left = x + 16 + tip.offsetWidth > width ? x - 12 - tip.offsetWidth : x + 16;
    const top = y + 16 + tip.offsetHeight > height ? y - 12 - tip.offsetHeight : y + 16;
    tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  }
}

function choose(track, {centre = false, play = false} = {}) {
  const isNew = track !== chosen;
  chosen = track;
  at("card").hidden = !track;
  redraw();
  if (!track) {
    at("player").pause();
    return;
  }
  if (isNew) fillCard(track);
  const [x, y] = toScreen(track);
  // On a narrow screen the card lies over the lower part of the map.
  const free = narrow.matches ? height - at("card").offsetHeight : height;
  if (centre || x < 30 || y < 30 || x > width - 30 || y > free - 30) {
    Object.assign(view, {x: track.x, y: track.y});
    isWhole = false;
  }
  if (play) playFile();
}

// --- Playing -------------------------------------------------------------------------------------

const KINDS = {
  aac: "audio/aac", flac: "audio/flac", m4a: "audio/mp4", m4b: "audio/mp4", mp2: "audio/mpeg",
  mp3: "audio/mpeg", mp4: "audio/mp4", oga: "audio/ogg", ogg: "audio/ogg",
  opus: 'audio/ogg; codecs="opus"', wav: "audio/wav", wave: "audio/wav", webm: "audio/webm",
  aif: "audio/aiff", aifc: "audio/aiff", aiff: "audio/aiff", au: "audio/basic", snd: "audio/basic",
  caf: "audio/x-caf", mka: "audio/x-matroska", mkv: "video/x-matroska", tta: "audio/x-tta",
  w64: "audio/x-w64", wma: "audio/x-ms-wma", wv: "audio/x-wavpack",
};

function ending(track) {
  return /[^.\/]*$/.exec(track.path)[0].toLowerCase();
}

function address(track) {
  const steps = track.path.split("/").map(encodeURIComponent);
  return `${data.roots[track.root].address}/${steps.join("/")}`;
}

function fillCard(track) {
  const player = at("player"), genre = data.genres[track.genre];
  at("name").textContent = track.name;
  at("genre").textContent = [describe(track), track.labels, track.words].filter(Boolean).join(" · ");
  at("path").textContent = `${data.roots[track.root].path.replace(/\/$/, "")}/${track.path}`;
  player.pause();
  report("");
  if (!data.roots[track.root].address.startsWith("file:")) {
    player.removeAttribute("src");
    report("This page plays files of this computer alone. The file is at");
  } else if (!player.canPlayType(KINDS[ending(track)] || "")) {
    player.removeAttribute("src");
    report(`This browser can't play .${ending(track)} files. Another player can: the file is`);
  } else if (location.protocol !== "file:") {
    player.removeAttribute("src");
    report("To listen, open this page as a file, on the computer that has the music:");
  } else {
    player.src = address(track);
  }
}

function report(problem) {
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
  at("player").hidden = Boolean(problem);
}

function playFile() {
  const player = at("player");
  if (!player.hasAttribute("src")) return;
  // The error event reports what is wrong; a quick click elsewhere only stops the loading.
  player.play().catch(() => {});
}

at("player").addEventListener("error", () => {
  if (at("player").hasAttribute("src")) {
    report("It can't be played: the file is gone, or this browser does not know its codec:");
  }
});

// --- Legend and search ---------------------------------------------------------------------------

function fillLegend() {
  const counts = data.genres.map(() => 0);
  for (const track of tracks) counts[track.genre] += 1;
  data.genres.forEach((genre, number) => {
    if (!counts[number]) return;
    const button = document.createElement("button"), count = document.createElement("span");
    button.type = "button";
    button.dataset.genre = number;
    button.setAttribute("aria-pressed", "false");
    count.textContent = counts[number];
    button.append(document.createElement("canvas"), genre.name, count);
    button.addEventListener("click", () => {
      if (!chosenGenres.delete(number)) chosenGenres.add(number);
      filter();
    });
    at("legend").append(button);
  });
  drawLegend();
}

function drawLegend() {
  for (const button of at("legend").children) {
    const image = button.firstChild, ratio = devicePixelRatio || 1, p = image.getContext("2d");
    image.width = image.height = 16 * ratio;
    p.setTransform(ratio, 0, 0, ratio, 8 * ratio, 8 * ratio);
    p.beginPath();
    SHAPES[data.genres[button.dataset.genre].shape](p, 5.5);
    paint(p, button.dataset.genre);
  }
}

function filter() {
  // All chosen is the same as none chosen: everything is shown.
  if (chosenGenres.size === at("legend").children.length) chosenGenres.clear();
  at("legend").classList.toggle("some", chosenGenres.size > 0);
  for (const button of at("legend").children) {
    button.setAttribute("aria-pressed", chosenGenres.has(Number(button.dataset.genre)));
  }
  for (const track of tracks) track.shown = !chosenGenres.size || chosenGenres.has(track.genre);
  search();
}

function search() {
  words = plain(at("search").value.trim());
  const parts = words.split(/\s+/);
  for (const track of tracks) track.found = parts.every((word) => track.plain.includes(word));
  found = words ? tracks.filter((track) => track.shown && track.found) : [];
  turn = -1;
  const rows = found.slice(0, 100).map((track) => {
    const row = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = button.title = track.name;
    button.addEventListener("click", () => {
      if (narrow.matches) at("found").replaceChildren();  // it would cover the map
      choose(track, {centre: true, play: true});
    });
    row.append(button);
    return row;
  });
  at("found").replaceChildren(...rows);
  const shown = tracks.filter((track) => track.shown).length;
  const counts = [];
  if (words) counts.push(found.length ? `${found.length} found` : "nothing found");
  if (chosenGenres.size) counts.push(`${shown} of ${tracks.length} shown`);
  at("count").textContent = counts.join(", ") || "Click genres to see only these";
  at("count").classList.toggle("hint", !counts.length);
  if (hovered && !reachable(hovered)) hover(null);
  redraw();
}

at("search").addEventListener("input", search);
at("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && found.length) {
    turn = (turn + (event.shiftKey ? found.length - 1 : 1)) % found.length;
    choose(found[turn], {centre: true});
  } else if (event.key === "ArrowDown") {
    at("found").querySelector("button")?.focus();
    event.preventDefault();
  }
});
at("found").addEventListener("keydown", (event) => {
  const row = event.target.closest("li");
  const next = {ArrowDown: row?.nextSibling, ArrowUp: row?.previousSibling}[event.key];
  if (next) next.firstChild.focus();
  else if (event.key === "ArrowUp") at("search").focus();
  if (event.key.startsWith("Arrow")) event.preventDefault();
});

// --- Pointer -------------------------------------------------------------------------------------

const fingers = new Map();
let hasMoved = false;

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY, event.offsetX, event.offsetY]);
  hasMoved = fingers.size > 1;
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = [event.offsetX, event.offsetY], finger = fingers.get(event.pointerId);
  if (!finger) {
    if (event.pointerType !== "touch") hover(near(x, y, 12)[0] || null, x, y);
    return;
  }
  const [oldX, oldY, startX, startY] = finger;
  if (Math.hypot(x - startX, y - startY) > (event.pointerType === "touch" ? 8 : 4)) hasMoved = true;
  if (!hasMoved) return;
  hover(null);
  canvas.classList.add("moved");
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
    const before = Math.hypot(oldX - other[0], oldY - other[1]);
    const now = Math.hypot(x - other[0], y - other[1]);
    if (before > 0) zoomBy(now / before, (x + other[0]) / 2, (y + other[1]) / 2);
    panBy((x - oldX) / 2, (y - oldY) / 2);
  } else {
    panBy(x - oldX, y - oldY);
  }
  fingers.set(event.pointerId, [x, y, startX, startY]);
});
canvas.addEventListener("pointerup", (event) => {
  if (!fingers.delete(event.pointerId) || fingers.size) return;
  canvas.classList.remove("moved");
  if (hasMoved) return;
  const hits = near(event.offsetX, event.offsetY, event.pointerType === "touch" ? 24 : 12);
  // Tracks on one spot take turns.
  const next = hits[(hits.indexOf(chosen) + 1) % hits.length] || null;
  choose(next, {play: true});
});
canvas.addEventListener("pointercancel", (event) => {
  fingers.delete(event.pointerId);
  canvas.classList.remove("moved");
});
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaY * (event.deltaMode ? 16 : 1);
  zoomBy(Math.exp(-Math.max(-200, Math.min(200, lines)) / 300), event.offsetX, event.offsetY);
}, {passive: false});

// --- Keyboard ------------------------------------------------------------------------------------

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};

function step([dx, dy]) {
  const from = chosen || view;
  let best = null, least = Infinity;
  for (const track of tracks) {
    if (track === chosen || !reachable(track)) continue;
    const [x, y] = [track.x - from.x, track.y - from.y];
    const along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
    const far = chosen ? along + 2 * across : Math.hypot(x, y);
    if (chosen && along <= Math.max(across * 0.4, 1e-9)) continue;
    if (far < least) [best, least] = [track, far];
  }
  if (best) choose(best);
}

canvas.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (arrow && event.shiftKey) panBy(-60 * arrow[0], 60 * arrow[1]);
  else if (arrow) step(arrow);
  else if ((event.key === "Enter" || event.key === " ") && chosen) {
    if (at("player").paused) playFile();
    else at("player").pause();
  } else if (event.key === "+" || event.key === "=") zoomBy(1.4);
  else if (event.key === "-") zoomBy(1 / 1.4);
  else if (event.key === "0") showWhole();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== at("search")) {
    at("search").focus();
    at("search").select();
    event.preventDefault();
  } else if (event.key === "Escape") {
    if (at("search").value) {
      at("search").value = "";
      search();
    } else if (chosen) {
      choose(null);
    } else {
      chosenGenres.clear();
      filter();
    }
    canvas.focus();
    event.preventDefault();
  }
});

at("in").addEventListener("click", () => zoomBy(1.6));
at("out").addEventListener("click", () => zoomBy(1 / 1.6));
at("whole").addEventListener("click", showWhole);
at("close").addEventListener("click", () => {
  choose(null);
  canvas.focus();
});
dark.addEventListener("change", () => {
  stamps.clear();
  drawLegend();
  redraw();
});
fillLegend();
filter();
new ResizeObserver(resize).observe(canvas);
