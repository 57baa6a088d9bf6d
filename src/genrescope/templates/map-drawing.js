"use strict";
// Positions lie within -1 to 1, y upwards. A track is [x, y, genre, confidence, root, path, name,
// words, labels]; the search looks at `words` and at `labels`: styles, instruments, moods.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const canvas = at("map"), pen = canvas.getContext("2d");
const tracks = data.tracks.map(([x, y, genre, confidence, root, path, name, words, labels], number) =>
  ({number, x, y, genre, confidence, root, path, name, words, labels,
    plain: plain(`${name} ${words} ${labels} ${path}`), shown: true, found: true}));
// Small ones on top of large ones, so that none is covered.
const order = [...tracks].sort((a, b) => b.confidence - a.confidence || a.number - b.number);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 44rem)");  // as in the style
const view = {x: 0, y: 0, scale: 1};  // the point in the middle, and pixels per unit
const chosenGenres = new Set();
let width = 0, height = 0, whole = 1, isWhole = true, size = 1;
let chosen = null, hovered = null, words = "", found = [], turn = -1, waiting = false;

function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

// --- Drawing -------------------------------------------------------------------------------------

const SHAPES = {
  circle: (p, r) => p.arc(0, 0, r, 0, 7),
  square: (p, r) => p.rect(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r),
  triangle: (p, r) => polygon(p, [[0, -1.25 * r], [1.15 * r, 0.8 * r], [-1.15 * r, 0.8 * r]]),
  diamond: (p, r) => polygon(p, [[0, -1.25 * r], [1.25 * r, 0], [0, 1.25 * r], [-1.25 * r, 0]]),
};

function polygon(p, corners) {
  corners.forEach(([x, y], i) => (i ? p.lineTo(x, y) : p.moveTo(x, y)));
  p.closePath();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const stamps = new Map();  // drawn once for each genre and size, and copied for each track

function stamp(genre, radius) {
  const size = Math.max(1, Math.round(radius * 2) / 2);
  const key = 100 * genre + 2 * size;
  if (!stamps.has(key)) {
    const ratio = devicePixelRatio || 1, edge = Math.ceil((2.5 * size + 4) * ratio);
    const image = document.createElement("canvas");
    image.width = image.height = edge;
    const p = image.getContext("2d");
    p.setTransform(ratio, 0, 0, ratio, edge / 2, edge / 2);
    p.beginPath();
    SHAPES[data.genres[genre].shape](p, size);
    paint(p, genre);
    if (size >= 2) {
      p.lineWidth = size >= 5 ? 1 : 0.6;
      p.strokeStyle = colour("--page");
      p.stroke();
    }
    stamps.set(key, image);
  }
  return stamps.get(key);
}

function paint(p, genre) {
  const own = data.genres[genre].colour;
  p.fillStyle = own;
  if (dark.matches) p.fillStyle = `color-mix(in oklab, ${own}, white 15%)`;  // old browsers keep the colour
  p.fill();
}

function radius(track) {
  return size * (0.5 + 0.8 * track.confidence);
}

function toScreen(track) {
  return [width / 2 + (track.x - view.x) * view.scale, height / 2 - (track.y - view.y) * view.scale];
}

function draw() {
  waiting = false;
  const crowd = Math.sqrt((width * height) / Math.max(tracks.length, 30));
  size = Math.min(Math.max(0.08 * crowd * Math.sqrt(view.scale / whole), 2.2), 9);
  const ratio = devicePixelRatio || 1;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const dim = words ? 0.13 : 0.9;
  for (const lit of [false, true]) {
    for (const track of order) {
      const isLit = track.shown && (track.found || !words);
      if (isLit !== lit) continue;
      const [x, y] = toScreen(track);
      if (x < -20 || y < -20 || x > width + 20 || y > height + 20) continue;
      const image = stamp(track.genre, radius(track)), half = image.width / 2;
      pen.globalAlpha = lit ? 0.92 : track.shown ? dim : 0.06;
      // At whole pixels nothing has to be interpolated.
      pen.drawImage(image, Math.round(x * ratio - half), Math.round(y * ratio - half));
    }
  }
  pen.globalAlpha = 1;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (words && found.length <= 30) for (const track of found) ring(track, 1.2, "--quiet");
  if (hovered) ring(hovered, 2, "--ink");
  if (chosen) ring(chosen, 3, "--ink");
}

function ring(track, thickness, name) {
  const [x, y] = toScreen(track);
  for (const [extra, line] of [[2, "--page"], [0, name]]) {
    pen.beginPath();
    pen.arc(x, y, 1.25 * radius(track) + 3, 0, 7);
    pen.lineWidth = thickness + extra;
    pen.strokeStyle = colour(line);
    pen.stroke();
  }
}

function redraw() {
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(draw);
  }
}

function resize() {
  const ratio = devicePixelRatio || 1;
  width = canvas.clientWidth;
  height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  stamps.clear();
  const [across, up] = data.extent.map((each) => Math.max(each, 0.2));
  const margin = Math.min(40, width / 10);
  whole = Math.max(10, Math.min((width / 2 - margin) / across, (height / 2 - margin) / up));
  if (isWhole) showWhole();
  redraw();
}

function showWhole() {
  Object.assign(view, {x: 0, y: 0, scale: whole});
  isWhole = true;
  redraw();
}

function zoomBy(factor, x = width / 2, y = height / 2) {
  const scale = Math.min(Math.max(view.scale * factor, whole / 2), whole * 400);
  const [dx, dy] = [x - width / 2, y - height / 2];
  view.x += dx / view.scale - dx / scale;
  view.y -= dy / view.scale - dy / scale;
  view.scale = scale;
  isWhole = false;
  redraw();
}

function panBy(dx, dy) {
  view.x -= dx / view.scale;
  view.y += dy / view.scale;
  isWhole = false;
  redraw();
}
