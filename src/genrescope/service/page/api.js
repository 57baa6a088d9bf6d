// Requests to the service, and small helpers for elements.
import {t, translated} from "./i18n.js";
import {picture} from "./icons.js";

export class Problem extends Error {
  constructor(status, detail, retryAfter) { super(translated(detail)); this.status = status; this.retryAfter = retryAfter; }
}

let asking = null;

async function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog"), form = document.getElementById("key-form");
    form.onsubmit = async (event) => {
      event.preventDefault();
      const key = document.getElementById("key").value;
      const answer = await fetch("/v1/session", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({key})});
      if (!answer.ok) { document.getElementById("key-problem").textContent = t("keyWrong"); return; }
      dialog.close(); asking = null; resolve();
    };
    dialog.showModal();
  });
  return asking;
}

export async function request(path, options = {}) {
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Problem(0, t("lost")); }
  if (answer.status === 401 && path !== "/v1/session") { await askForKey(); return request(path, options); }
  if (!answer.ok) {
    const text = await answer.json().catch(() => ({detail: answer.statusText}));
    throw new Problem(answer.status, text.detail, Number(answer.headers.get("Retry-After")) || 2);
  }
  return answer;
}

export const get = async (path) => (await request(path)).json();
export const send = async (method, path, body) =>
  (await request(path, {method, headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})).json();

// Server-sent events of a POST; EventSource can only GET.
export async function* events(path, form, signal) {
  const answer = await request(path, {method: "POST", body: form, signal, headers: {Accept: "text/event-stream"}});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const each of whole) {
      const [, kind, data] = each.match(/^event: (\w+)\ndata: (.*)$/s) ?? [];
      if (kind) yield {kind, ...JSON.parse(data)};
    }
  }
}

// el("p", {class: "x", onclick: f}, "text", child)
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // The states of ARIA are words: aria-pressed="" would mean "not pressed".
    if (name.startsWith("aria-") && typeof value === "boolean") { element.setAttribute(name, String(value)); continue; }
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") Object.assign(element.style, value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A name in its own direction: what it holds of right-to-left text turns nothing around it.
export const named = (text) => el("bdi", {}, text);

export const at = (id) => document.getElementById(id);
export const icon = (name, label, onclick, more = {}) =>
  el("button", {type: "button", class: "icon", "aria-label": label, title: label, onclick, ...more}, picture(name));

export const looks = new Map();  // genre to {colour, shape}
export function dot(genre) {
  const look = looks.get(genre) ?? {colour: "#808890", shape: "circle"};
  return el("span", {class: `dot ${look.shape}`, style: {background: look.colour}, "aria-hidden": "true"});
}
