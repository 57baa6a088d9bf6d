// The map of the library on a canvas: drag, wheel, pinch-free zoom by keys, hover, choose.
import {looks} from "./api.js";

const SHAPES = {
  circle: (p, x, y, r) => p.arc(x, y, r, 0, 7),
  square: (p, x, y, r) => p.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r),
  triangle: (p, x, y, r) => { p.moveTo(x, y - 1.25 * r); p.lineTo(x + 1.15 * r, y + 0.8 * r); p.lineTo(x - 1.15 * r, y + 0.8 * r); p.closePath(); },
  diamond: (p, x, y, r) => { p.moveTo(x, y - 1.25 * r); p.lineTo(x + 1.25 * r, y); p.lineTo(x, y + 1.25 * r); p.lineTo(x - 1.25 * r, y); p.closePath(); },
};
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class MapView {
  constructor(canvas, {onchoose = () => {}, onhover = () => {}, still = false} = {}) {
    Object.assign(this, {canvas, onchoose, onhover, still, tracks: [], shown: null, chosen: null, mark: null, view: {x: 0, y: 0, zoom: 1}});
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    if (!still) this.listen();
  }

  set(tracks) { this.tracks = tracks; this.draw(); }

  place(track) {
    const {width, height} = this.canvas.getBoundingClientRect(), scale = Math.min(width, height) / 2.25 * this.view.zoom;
    return [width / 2 + (track.x - this.view.x) * scale, height / 2 - (track.y - this.view.y) * scale];
  }

  draw() {
    const {width, height} = this.canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    if (!width) return;
    this.canvas.width = width * ratio; this.canvas.height = height * ratio;
    const p = this.canvas.getContext("2d");
    p.scale(ratio, ratio);
    const size = Math.max(2.5, Math.min(7, 60 / Math.sqrt(this.tracks.length + 1))) * Math.min(1.6, Math.sqrt(this.view.zoom)) * (this.still ? 0.8 : 1);
    for (const track of this.tracks) {
      const visible = !this.shown || this.shown(track), look = looks.get(track.genre) ?? {colour: "#808890", shape: "circle"};
      const [x, y] = this.place(track);
      p.globalAlpha = visible ? (this.mark ? 0.75 : 0.95) : 0.25;
      p.beginPath();
      SHAPES[look.shape](p, x, y, size * (0.65 + 0.5 * track.confidence));
      p.fillStyle = look.colour; p.fill();
      p.lineWidth = 1; p.strokeStyle = ink("--card"); p.stroke();
    }
    p.globalAlpha = 1;
    for (const track of [this.chosen, this.mark].filter(Boolean)) {
      const [x, y] = this.place(track);
      p.beginPath(); p.arc(x, y, size + 5, 0, 7); p.lineWidth = 2.5; p.strokeStyle = ink("--ink"); p.stroke();
      if (track === this.mark) { p.beginPath(); p.arc(x, y, 4, 0, 7); p.fillStyle = ink("--ink"); p.fill(); }
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

  zoom(by) { this.view.zoom = Math.max(1, Math.min(40, this.view.zoom * by)); if (this.view.zoom === 1) this.view.x = this.view.y = 0; this.draw(); }

  listen() {
    const c = this.canvas;
    let from = null, moved = false;
    c.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; moved = false; c.setPointerCapture(e.pointerId); });
    c.addEventListener("pointermove", (e) => {
      if (!from) { this.onhover(this.nearest(e), e); return; }
      const dx = e.clientX - from[0], dy = e.clientY - from[1];
      if (!moved && Math.hypot(dx, dy) < 4) return;
      moved = true;
      const box = c.getBoundingClientRect(), scale = Math.min(box.width, box.height) / 2.25 * this.view.zoom;
      this.view.x -= dx / scale; this.view.y += dy / scale; from = [e.clientX, e.clientY];
      this.draw();
    });
    c.addEventListener("pointerup", (e) => { if (!moved) { const near = this.nearest(e); if (near) this.choose(near); } from = null; });
    c.addEventListener("pointerleave", () => this.onhover(null));
    c.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15); }, {passive: false});
    c.addEventListener("keydown", (e) => {
      const to = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
      if (to) { e.preventDefault(); this.step(...to); }
      else if (e.key === "+" || e.key === "=") this.zoom(1.3);
      else if (e.key === "-") this.zoom(1 / 1.3);
      else if (e.key === "Enter" && this.chosen) this.canvas.dispatchEvent(new CustomEvent("playchosen", {detail: this.chosen}));
    });
  }

  // The nearest track in a direction, as the arrow keys go.
  step(dx, dy) {
    const here = this.chosen ?? {x: 0, y: 0};
    let best = null, least = Infinity;
    for (const track of this.tracks) {
      if (track === this.chosen || (this.shown && !this.shown(track))) continue;
      const x = track.x - here.x, y = track.y - here.y, along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
      if (this.chosen && along <= 0) continue;
      const cost = Math.abs(along) + 2 * across;
      if (cost < least) [best, least] = [track, cost];
    }
    if (best) this.choose(best);
  }
}
