// Requests to the service, and small helpers for elements.
import {t, translated} from "./i18n.js";
import {picture} from "./icons.js";

export class Problem extends Error {
  constructor(status, detail, retryAfter) { super(translated(detail)); this.status = status; this.retryAfter = retryAfter; }
}

let asking = null;

// All requests that wait for the key share one dialog. It is asked again by the next request where this one was closed.
function askForKey() {
  asking ??= new Promise((resolve, reject) => {
    const dialog = at("key-dialog"), field = at("key"), problem = at("key-problem");
    at("key-form").onsubmit = async (event) => {
      event.preventDefault();
      problem.textContent = "";
      try { await request("/v1/session", asJson("POST", {key: field.value})); }
      catch (error) { problem.textContent = error.status === 401 ? t("keyWrong") : error.message; return; }
      resolve();
      dialog.close();
    };
    at("key-cancel").onclick = () => dialog.close();
    // Escape closes it, too. After a key that was right, the promise is resolved already.
    dialog.onclose = () => { asking = null; field.value = problem.textContent = ""; reject(new Problem(401, t("keyMissing"))); };
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
export const asJson = (method, body) => ({method, headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
export const send = async (method, path, body) => (await request(path, asJson(method, body))).json();

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

// Say it to screen readers. A live region that gets the text it has already would be silent.
export function announce(text) {
  const place = at("announce");
  place.textContent = place.textContent === text ? `${text}\u00a0` : text;
}

// Show why something failed, with a button for another attempt.
export function showFailure(place, problem, again) {
  const button = el("button", {type: "button", onclick: async () => {
    button.disabled = true;
    await again();
    if (document.activeElement === document.body) (place.querySelector("button") ?? at("main")).focus({preventScroll: true});
  }}, t("tryAgain"));
  place.replaceChildren(el("p", {class: "problem retry", role: "alert"}, el("span", {}, problem.message), button));
}

// Map.groupBy, which browsers have only since 2023 and 2024.
export function grouped(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    groups.has(key) ? groups.get(key).push(item) : groups.set(key, [item]);
  }
  return groups;
}

export const icon = (name, label, onclick, more = {}) =>
  el("button", {type: "button", class: "icon", "aria-label": label, title: label, onclick, ...more}, picture(name));

export const looks = new Map();  // genre to {colour, shape}
export function dot(genre) {
  const look = looks.get(genre) ?? {colour: "#808890", shape: "circle"};
  return el("span", {class: `dot ${look.shape}`, style: {background: look.colour}, "aria-hidden": "true"});
}
