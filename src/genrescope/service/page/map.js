// The map of the library on a canvas: drag, pinch, zoom, hover, choose, and all of it by keys.
import {grouped, looks} from "./api.js";

const SHAPES = {
  circle: (p, x, y, r) => p.arc(x, y, r, 0, 7),
  square: (p, x, y, r) => p.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r),
  triangle: (p, x, y, r) => { p.moveTo(x, y - 1.25 * r); p.lineTo(x + 1.15 * r, y + 0.8 * r); p.lineTo(x - 1.15 * r, y + 0.8 * r); p.closePath(); },
  diamond: (p, x, y, r) => { p.moveTo(x, y - 1.25 * r); p.lineTo(x + 1.25 * r, y); p.lineTo(x, y + 1.25 * r); p.lineTo(x - 1.25 * r, y); p.closePath(); },
};
const MOST_ZOOM = 40, NAMED = 3;  // tracks of a genre from which on its name is written
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

export class MapView {
  constructor(canvas, {onchoose = () => {}, onhover = () => {}, still = false} = {}) {
    Object.assign(this, {canvas, onchoose, onhover, still, tracks: [], extent: [1, 1], shown: null, chosen: null, playing: null, mark: null, view: {x: 0, y: 0, zoom: 1}});
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    if (!still) this.listen();
  }

  // `extent`: how far the tracks reach in x and y; the canvas gets their shape.
  set(tracks, extent = [1, 1]) {
    this.tracks = tracks; this.extent = extent;
    this.canvas.style.aspectRatio = Math.max(1.05, Math.min(2, (extent[0] + 0.15) / (extent[1] + 0.15)));
    this.draw();
  }

  get scale() {
    const {width, height} = this.canvas.getBoundingClientRect(), [x, y] = this.extent;
    return Math.min(width / (x || 1), height / (y || 1)) / 2.3 * this.view.zoom;
  }

  place(track) {
    const {width, height} = this.canvas.getBoundingClientRect(), scale = this.scale;
    return [width / 2 + (track.x - this.view.x) * scale, height / 2 - (track.y - this.view.y) * scale];
  }

  draw() {
    const {width, height} = this.canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    if (!width) return;
    this.canvas.width = width * ratio; this.canvas.height = height * ratio;
    const p = this.canvas.getContext("2d");
    p.scale(ratio, ratio);
    const size = Math.max(2.5, Math.min(7, 60 / Math.sqrt(this.tracks.length + 1))) * Math.min(1.6, Math.sqrt(this.view.zoom)) * (this.still ? 0.85 : 1);
    const scale = this.scale, border = ink("--map"), strong = ink("--ink");
    const at = (track) => [width / 2 + (track.x - this.view.x) * scale, height / 2 - (track.y - this.view.y) * scale];
    for (const visible of [false, true]) for (const track of this.tracks) {  // what is shown lies above
      if ((!this.shown || this.shown(track)) !== visible) continue;
      const look = looks.get(track.genre) ?? {colour: "#808890", shape: "circle"}, [x, y] = at(track);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      p.globalAlpha = visible ? (this.mark ? 0.8 : 0.95) : 0.16;
      p.beginPath();
      SHAPES[look.shape](p, x, y, size * (0.65 + 0.5 * track.confidence));
      p.fillStyle = look.colour; p.fill();
      p.lineWidth = 1; p.strokeStyle = border; p.stroke();
    }
    p.globalAlpha = 1;
    this.name(p, at, border, strong, width, height);
    for (const track of [this.playing, this.chosen, this.mark].filter(Boolean)) {
      const [x, y] = at(track);
      p.beginPath(); p.arc(x, y, size + 5, 0, 7); p.lineWidth = 2.5; p.strokeStyle = track === this.playing ? ink("--accent") : strong; p.stroke();
      if (track === this.mark) { p.beginPath(); p.arc(x, y, 4, 0, 7); p.fillStyle = strong; p.fill(); }
    }
  }

  // Each genre's name at the median of its tracks, as long as names do not overlap.
  name(p, at, border, strong, width, height) {
    const groups = grouped(this.tracks.filter((track) => track.genre && (!this.shown || this.shown(track))), (track) => track.genre), taken = [];
    p.font = `600 ${this.still ? 11 : 12.5}px system-ui, sans-serif`; p.textAlign = "center"; p.textBaseline = "middle"; p.lineJoin = "round";
    for (const [genre, tracks] of [...groups].sort((a, b) => b[1].length - a[1].length)) {
      if (tracks.length < NAMED) continue;
      const half = p.measureText(genre).width / 2 + 4;
      let [x, y] = at({x: median(tracks.map((track) => track.x)), y: median(tracks.map((track) => track.y))});
      if (x < 0 || y < 0 || x > width || y > height) continue;
      x = Math.max(half, Math.min(width - half, x)); y = Math.max(9, Math.min(height - 9, y));
      if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 17)) continue;
      taken.push({x, y, half});
      p.lineWidth = 4; p.strokeStyle = border; p.strokeText(genre, x, y);
      p.fillStyle = strong; p.fillText(genre, x, y);
    }
  }

  nearest(event, reach = 18) {
    const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = reach;
    for (const track of this.tracks) {
      if (this.shown && !this.shown(track)) continue;
      const [a, b] = this.place(track), far = Math.hypot(a - x, b - y);
      if (far < least) [best, least] = [track, far];
    }
    return best;
  }

  choose(track, tell = true) { this.chosen = track; this.draw(); if (tell) this.onchoose(track); }

  // What lies at a point of the screen stays there; without a point, what lies in the middle.
  zoom(by, point = null) {
    const box = this.canvas.getBoundingClientRect(), before = this.scale;
    this.view.zoom = Math.max(1, Math.min(MOST_ZOOM, this.view.zoom * by));
    const dx = point ? point.clientX - box.left - box.width / 2 : 0, dy = point ? point.clientY - box.top - box.height / 2 : 0;
    this.view.x += dx / before - dx / this.scale; this.view.y -= dy / before - dy / this.scale;
    if (this.view.zoom === 1) this.view.x = this.view.y = 0;
    this.draw();
  }

  reset() { this.view = {x: 0, y: 0, zoom: 1}; this.draw(); }

  listen() {
    const c = this.canvas, down = new Map();
    let moved = false;
    const apart = () => { const [a, b] = [...down.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
    c.addEventListener("pointerdown", (e) => { down.set(e.pointerId, e); if (down.size === 1) moved = false; c.setPointerCapture(e.pointerId); });
    c.addEventListener("pointermove", (e) => {
      const from = down.get(e.pointerId);
      if (!from) { this.onhover(this.nearest(e), e); return; }
      if (down.size === 2) {
        const before = apart();
        down.set(e.pointerId, e); moved = true;
        const [a, b] = [...down.values()];
        this.zoom(apart() / Math.max(1, before), {clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2});
        return;
      }
      const dx = e.clientX - from.clientX, dy = e.clientY - from.clientY;
      if (!moved && Math.hypot(dx, dy) < 4) return;
      moved = true;
      this.view.x -= dx / this.scale; this.view.y += dy / this.scale;
      down.set(e.pointerId, e);
      this.draw();
    });
    c.addEventListener("pointerup", (e) => { if (down.size === 1 && !moved) { const near = this.nearest(e); if (near) this.choose(near); } down.delete(e.pointerId); });
    c.addEventListener("pointercancel", (e) => down.delete(e.pointerId));
    c.addEventListener("pointerleave", () => this.onhover(null));
    // The wheel scrolls the page, unless the map is in use.
    c.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !e.metaKey && document.activeElement !== c) return;
      e.preventDefault();
      this.zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15, e);
    }, {passive: false});
    c.addEventListener("keydown", (e) => {
      const to = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
      if (to) { e.preventDefault(); this.step(...to); }
      else if (e.key === "+" || e.key === "=") this.zoom(1.3);
      else if (e.key === "-") this.zoom(1 / 1.3);
      else if (e.key === "0") this.reset();
      else if (e.key === "Enter" && this.chosen) this.canvas.dispatchEvent(new CustomEvent("playchosen", {detail: this.chosen}));
    });
  }

  // The nearest track in a direction, as the arrow keys go; the map follows.
  step(dx, dy) {
    const here = this.chosen ?? {x: this.view.x, y: this.view.y};
    let best = null, least = Infinity;
    for (const track of this.tracks) {
      if (track === this.chosen || (this.shown && !this.shown(track))) continue;
      const x = track.x - here.x, y = track.y - here.y, along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
      if (this.chosen && along <= 0) continue;
      const cost = Math.abs(along) + 2 * across;
      if (cost < least) [best, least] = [track, cost];
    }
    if (!best) return;
    const [x, y] = this.place(best), {width, height} = this.canvas.getBoundingClientRect();
    if (x < 0 || y < 0 || x > width || y > height) [this.view.x, this.view.y] = [best.x, best.y];
    this.choose(best);
  }
}
