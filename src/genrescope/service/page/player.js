// The one player of the page, and who follows it.
import {at} from "./api.js";
import {t} from "./i18n.js";

const audio = at("audio"), followers = new Map();
let current = null;

export function follow(key, show) { followers.set(key, show); }
export const isCurrent = (key) => current === key;

function tell() {
  for (const [key, show] of followers) show(key === current ? audio.currentTime : null, key === current && !audio.paused);
  document.dispatchEvent(new CustomEvent("playing", {detail: current}));
}

for (const each of ["play", "pause", "ended", "seeked"]) audio.addEventListener(each, tell);
audio.addEventListener("error", () => { if (current) at("player-name").textContent = t("cannotPlay"); });
function frame() {
  if (current && !audio.paused) followers.get(current)?.(audio.currentTime, true);
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

export async function play(key, name, address, from = null) {
  if (current !== key) {
    current = key;
    at("player").hidden = false;
    at("player-name").textContent = name;
    audio.src = address;
  } else if (from === null && !audio.paused) { audio.pause(); return; }
  if (from !== null) {
    if (audio.readyState < 1) await new Promise((done) => { for (const e of ["loadedmetadata", "error"]) audio.addEventListener(e, done, {once: true}); });
    audio.currentTime = from;
  }
  await audio.play().catch(() => {});
  tell();
}

export const playTrack = (track, from = null) => play(track.id, track.name, `/v1/tracks/${track.id}/audio`, from);
