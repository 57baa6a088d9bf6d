// The waveform on the drop area; while something is recorded, the level of the microphone.
import {looks} from "./api.js";

const BARS = 72, still = matchMedia("(prefers-reduced-motion: reduce)");

export class Level {
  constructor(canvas) {
    this.canvas = canvas;
    this.rest();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    document.addEventListener("looks", () => this.draw());
  }

  // A phrase that swells and fades twice.
  rest() {
    this.context?.close();
    this.context = null;
    this.heights = Array.from({length: BARS}, (_, i) => {
      const x = i / (BARS - 1);
      return Math.sin(Math.PI * x) ** 0.7 * (0.35 + 0.65 * Math.abs(Math.sin(9.4 * x + 0.6) * Math.cos(41 * x)));
    });
    this.draw();
  }

  follow(stream) {
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser(), samples = new Float32Array(1024);
    analyser.fftSize = samples.length;
    this.context.createMediaStreamSource(stream).connect(analyser);
    this.heights.fill(0);
    let last = 0;
    const step = (now) => {
      if (!this.context) return;
      if (now - last > (still.matches ? 400 : 45)) {
        last = now;
        analyser.getFloatTimeDomainData(samples);
        this.heights.push(Math.min(1, 2.2 * Math.max(...samples.map(Math.abs)) ** 0.7));
        this.heights.shift();
        this.draw();
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  draw() {
    const {canvas, heights} = this, ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    if (!w) return;
    canvas.width = w * ratio; canvas.height = h * ratio;
    const p = canvas.getContext("2d"), colours = [...looks.values()].map((look) => look.colour), step = w / BARS;
    p.scale(ratio, ratio);
    heights.forEach((height, i) => {
      const size = Math.max(2, height * h), place = i / BARS * colours.length;
      p.fillStyle = colours[Math.floor(place)] ?? getComputedStyle(canvas).color;
      p.beginPath();
      p.roundRect(i * step + step * 0.25, (h - size) / 2, step * 0.5, size, step * 0.25);
      p.fill();
    });
  }
}
