// The library: map, table, corrections, likes, recommendations, playlist.
import {at, dot, el, get, icon, request, send} from "./api.js";
import {clock, percent, t} from "./i18n.js";
import {shared} from "./listen.js";
import {MapView} from "./map.js";
import {playTrack} from "./player.js";

const PAGE = 25;
const state = {offset: 0, total: 0, descending: false, tracks: [], genres: []};
const selected = new Map(), known = new Map();  // by id
const kept = (name) => JSON.parse(localStorage.getItem(name) ?? "[]");
const likes = new Map(kept("likes")), dislikes = new Map(kept("dislikes"));  // id to name
let playlist = kept("playlist");  // {id, name, duration}
const shownGenres = new Set();
let map, playing = null;

function keep() {
  localStorage.setItem("likes", JSON.stringify([...likes])); localStorage.setItem("dislikes", JSON.stringify([...dislikes]));
  localStorage.setItem("playlist", JSON.stringify(playlist));
}

export async function start(models) {
  if (!models.library) { at("no-library").hidden = false; at("library-body").hidden = true; return; }
  shared.hasLibrary = models.library.same_model;
  state.genres = models.library.genres;
  const options = (names) => names.map(([value, text]) => el("option", {value}, text));
  at("filter-genre").append(...options([["", t("all_genres")], ...state.genres.map((g) => [g, g])]));
  at("bulk-genre").append(...options([...state.genres.map((g) => [g, g]), ["", t("asModel")]]));
  at("sort").append(...options(["name", "artist", "album", "year", "genre", "confidence", "duration"].map((each) => [each, t(each)])));
  let timer;
  at("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { state.offset = 0; load(); }, 200); });
  for (const each of ["filter-genre", "filter-kind", "sort"]) at(each).addEventListener("change", () => { state.offset = 0; load(); });
  at("filters").addEventListener("submit", (e) => e.preventDefault());
  at("descending").addEventListener("click", () => { state.descending = !state.descending; at("descending").setAttribute("aria-pressed", state.descending); load(); });
  at("previous").addEventListener("click", () => { state.offset -= PAGE; load(); });
  at("next").addEventListener("click", () => { state.offset += PAGE; load(); });
  at("bulk-apply").addEventListener("click", () => correct([...selected.keys()], at("bulk-genre").value || null));
  at("bulk-add").addEventListener("click", () => { for (const track of selected.values()) add(track); });
  at("bulk-between").addEventListener("click", between);
  at("recommend").addEventListener("click", recommend);
  at("export").addEventListener("click", exportPlaylist);
  at("clear").addEventListener("click", () => { playlist = []; showPlaylist(); });
  document.addEventListener("playing", (e) => { playing = e.detail; for (const row of document.querySelectorAll("#tracks tr[data-id]")) row.classList.toggle("current", row.dataset.id === playing); });
  dropTarget();
  map = new MapView(at("map"), {onchoose: showCard, onhover: hover});
  at("map").addEventListener("playchosen", (e) => playTrack(e.detail));
  showPlaylist(); showLikes();
  shared.mapDrawn = loadMap();
  await load();
}

async function loadMap() {
  for (;;) {
    try { shared.map = await get("/v1/map"); break; }
    catch (problem) {
      at("legend").textContent = problem.status === 503 ? t("mapDrawing") : problem.message;
      if (problem.status !== 503) { at("map").hidden = true; return; }
      await new Promise((done) => setTimeout(done, 1000 * problem.retryAfter));
    }
  }
  map.set(shared.map.tracks);
  const counts = Map.groupBy(shared.map.tracks, (track) => track.genre);
  at("legend").replaceChildren(...[...counts].sort((a, b) => b[1].length - a[1].length).map(([genre, tracks]) =>
    el("button", {type: "button", "aria-pressed": "false", onclick: (e) => {
      shownGenres.has(genre) ? shownGenres.delete(genre) : shownGenres.add(genre);
      e.currentTarget.setAttribute("aria-pressed", shownGenres.has(genre));
      map.shown = shownGenres.size ? (track) => shownGenres.has(track.genre) : null;
      map.draw();
    }}, dot(genre), `${genre} ${tracks.length}`)));
}

function hover(track, event) {
  const tip = at("map-tip");
  tip.hidden = !track;
  at("map").style.cursor = track ? "pointer" : "";
  if (!track) return;
  const box = at("map").getBoundingClientRect();
  tip.textContent = `${track.name} · ${track.genre}`;
  tip.style.transform = `translate(${Math.min(event.clientX - box.left + 12, box.width - 170)}px, ${event.clientY - box.top + 12}px)`;
}

function showCard(track) {
  const card = at("map-card");
  card.hidden = false;
  card.replaceChildren(icon("▶", `${t("play")}: ${track.name}`, () => playTrack(track)), el("span", {class: "name"}, dot(track.genre), track.name, " ", el("span", {class: "quiet"}, track.genre)),
    ...marks(track), icon("+", `${t("add")}: ${track.name}`, () => add(track)), el("button", {type: "button", onclick: () => showSimilar(track)}, t("similar")));
}

async function showSimilar(track) {
  const form = new FormData();
  form.append("track", track.id);
  const answer = await fetch("/v1/similar", {method: "POST", body: form}).then((each) => each.json());
  listTracks(answer.tracks ?? [], `${t("similar")}: ${track.name}`, (each) => percent(Math.max(0, each.similarity)));
}

function listTracks(tracks, hint, figure) {
  at("recommend-hint").textContent = tracks.length ? hint : t("noneAlike");
  at("recommended").replaceChildren(...tracks.map((track) => el("li", draggable(track), icon("▶", `${t("play")}: ${track.name}`, () => playTrack(track)),
    el("span", {class: "name"}, track.name, track.reason ? el("small", {}, track.reason) : null), el("span", {class: "meta"}, dot(track.genre), figure(track)),
    icon("+", `${t("add")}: ${track.name}`, () => add(track)))));
}

async function load() {
  const kind = at("filter-kind").value, query = new URLSearchParams({sort: at("sort").value || "name", descending: state.descending, offset: Math.max(0, state.offset), limit: PAGE});
  if (at("search").value.trim()) query.set("q", at("search").value.trim());
  if (at("filter-genre").value) query.set("genre", at("filter-genre").value);
  if (kind === "unsure") query.set("max_confidence", 0.6);
  if (kind === "corrected") query.set("corrected", true);
  const found = await get(`/v1/tracks?${query}`);
  state.tracks = found.tracks; state.total = found.total;
  for (const track of found.tracks) known.set(track.id, track);
  showTable();
}

function showTable() {
  const head = at("tracks").tHead, body = at("tracks").tBodies[0];
  head.replaceChildren(el("tr", {}, el("th", {scope: "col"}, el("input", {type: "checkbox", "aria-label": `${t("select")}: ${t("all")}`, onchange: (e) => {
    for (const track of state.tracks) e.target.checked ? selected.set(track.id, track) : selected.delete(track.id);
    showTable();
  }})), el("th", {scope: "col"}, el("span", {class: "visually-hidden"}, t("play"))), ...["name", "genre"].map((each) => el("th", {scope: "col"}, t(each))),
  el("th", {scope: "col", class: "number wide"}, t("confidence")), el("th", {scope: "col", class: "number wide"}, t("year")), el("th", {scope: "col", class: "number wide"}, t("duration")),
  el("th", {scope: "col"}, el("span", {class: "visually-hidden"}, `${t("like")}, ${t("add")}`))));
  body.replaceChildren(...state.tracks.map(row));
  const last = Math.min(state.offset + PAGE, state.total);
  at("page-of").textContent = state.total ? t("pageOf", state.offset + 1, last, state.total) : t("pageOf", 0, 0, 0);
  at("library-count").textContent = t("count", state.total);
  at("previous").disabled = state.offset <= 0; at("next").disabled = last >= state.total;
  showBulk();
}

function row(track) {
  const genre = track.corrected_genre ?? track.genre;
  const choice = el("select", {"aria-label": t("genreOf", track.name), onchange: (e) => correct([track.id], e.target.value || null)},
    ...(genre ? [] : [el("option", {value: ""}, "–")]), ...state.genres.map((each) => el("option", {value: each, selected: each === genre}, each)),
    track.corrected_genre ? el("option", {value: ""}, t("asModel")) : null);
  return el("tr", {"data-id": track.id, class: track.id === playing ? "current" : "", ...draggable(track)},
    el("td", {}, el("input", {type: "checkbox", checked: selected.has(track.id), "aria-label": `${t("select")}: ${track.name}`, onchange: (e) => {
      e.target.checked ? selected.set(track.id, track) : selected.delete(track.id); showBulk();
    }})),
    el("td", {class: "tight"}, icon("▶", `${t("play")}: ${track.name}`, () => playTrack(track))),
    el("td", {}, track.title ?? track.name, el("small", {}, [track.title && track.artist, track.album].filter(Boolean).join(" · ") || track.problem || "")),
    el("td", {}, el("span", {class: "genre-cell"}, dot(genre), choice), track.corrected_genre ? el("small", {}, `✎ ${t("modelSaid", track.genre)}`) : null),
    el("td", {class: "number wide"}, track.genre ? percent(track.confidence) : ""), el("td", {class: "number wide"}, String(track.year ?? "")), el("td", {class: "number wide"}, clock(track.duration)),
    el("td", {class: "tight"}, ...marks(track), icon("+", `${t("add")}: ${track.name}`, () => add(track))));
}

function marks(track) {
  const mark = (own, other, sign, word) => icon(sign, `${t(word)}: ${track.name}`, () => {
    own.has(track.id) ? own.delete(track.id) : own.set(track.id, track.name);
    other.delete(track.id);
    keep(); showLikes();
    for (const each of document.querySelectorAll(`[data-mark="${track.id}"]`)) each.setAttribute("aria-pressed", (each.dataset.kind === "like" ? likes : dislikes).has(track.id));
  }, {"aria-pressed": own.has(track.id), "data-mark": track.id, "data-kind": word});
  return [mark(likes, dislikes, "♥", "like"), mark(dislikes, likes, "✕", "dislike")];
}

function showLikes() {
  at("recommend").disabled = !likes.size;
  at("recommend-hint").textContent = likes.size ? `♥ ${[...likes.values()].join(", ")}${dislikes.size ? ` · ✕ ${[...dislikes.values()].join(", ")}` : ""}` : t("recommendHint");
}

function showBulk() {
  at("bulk").hidden = !selected.size;
  at("bulk-count").textContent = t("selected", selected.size);
  at("bulk-between").disabled = selected.size !== 2;
}

async function correct(ids, genre) {
  const problem = at("correct-problem");
  let tracks;
  problem.textContent = "";
  try { ({tracks} = await send("PATCH", "/v1/tracks", {ids, genre})); }
  catch (error) { problem.textContent = error.status === 503 ? t("scanning") : error.message; showTable(); return; }
  for (const track of tracks) {
    state.tracks = state.tracks.map((each) => (each.id === track.id ? track : each));
    if (selected.has(track.id)) selected.set(track.id, track);
    const point = shared.map?.tracks.find((each) => each.id === track.id);
    if (point) point.genre = track.corrected_genre ?? track.genre;
  }
  showTable(); map.draw();
}

async function recommend() {
  const n = 12, body = {likes: [...likes.keys()], dislikes: [...dislikes.keys()], n};
  try {
    const {tracks} = await send("POST", "/v1/recommend", body);
    listTracks(tracks, `♥ ${[...likes.values()].join(", ")}`, (each) => each.genre);
  } catch (problem) { at("recommend-hint").textContent = problem.message; }
}

// --- Playlist ---

const draggable = (track) => ({draggable: "true", ondragstart: (e) => e.dataTransfer.setData("application/x-track", JSON.stringify({id: track.id, name: track.name, duration: track.duration ?? 0}))});

function add(track, before = playlist.length) {
  const length = track.duration ?? known.get(track.id)?.duration ?? 0;
  playlist.splice(before, 0, {id: track.id, name: track.name, duration: length});
  showPlaylist();
}

function move(from, to) {
  if (to < 0 || to >= playlist.length) return;
  playlist.splice(to, 0, ...playlist.splice(from, 1));
  showPlaylist();
}

function dropTarget() {
  const panel = at("playlist-panel");
  panel.addEventListener("dragover", (e) => { if ([...e.dataTransfer.types].some((each) => each.startsWith("application/x-"))) { e.preventDefault(); panel.classList.add("over"); } });
  panel.addEventListener("dragleave", (e) => { if (!panel.contains(e.relatedTarget)) panel.classList.remove("over"); });
  panel.addEventListener("drop", (e) => {
    e.preventDefault();
    panel.classList.remove("over");
    const onto = e.target.closest("#playlist li"), to = onto ? [...onto.parentElement.children].indexOf(onto) : playlist.length;
    const own = e.dataTransfer.getData("application/x-place"), track = e.dataTransfer.getData("application/x-track");
    if (own) move(Number(own), Math.min(to, playlist.length - 1));
    else if (track) add(JSON.parse(track), to);
  });
}

function showPlaylist() {
  keep();
  at("playlist-hint").hidden = playlist.length > 0;
  at("export").disabled = at("clear").disabled = !playlist.length;
  at("playlist").replaceChildren(...playlist.map((track, place) => el("li", {draggable: "true", ondragstart: (e) => e.dataTransfer.setData("application/x-place", place)},
    icon("▶", `${t("play")}: ${track.name}`, () => playTrack(track)), el("span", {class: "name"}, track.name), el("span", {class: "meta"}, clock(track.duration)),
    icon("↑", `${t("up")}: ${track.name}`, () => move(place, place - 1), {disabled: place === 0}), icon("↓", `${t("down")}: ${track.name}`, () => move(place, place + 1), {disabled: place === playlist.length - 1}),
    icon("×", `${t("remove")}: ${track.name}`, () => { playlist.splice(place, 1); showPlaylist(); }))));
}

async function between() {
  const [from, to] = [...selected.keys()], length = Math.min(12, shared.map?.tracks.length ?? 12);
  try { playlist = (await send("POST", "/v1/playlist", {from, to, length})).tracks.map(({id, name, duration}) => ({id, name, duration})); }
  catch (problem) { at("playlist-hint").hidden = false; at("playlist-hint").textContent = problem.message; return; }
  showPlaylist();
  at("playlist-title").scrollIntoView({block: "nearest"});
}

async function exportPlaylist() {
  let file;
  const ids = playlist.map((track) => track.id);
  try { file = await (await request("/v1/playlist.m3u8", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({ids})})).blob(); }
  catch (problem) { at("playlist-hint").hidden = false; at("playlist-hint").textContent = problem.message; return; }
  const address = URL.createObjectURL(file);
  el("a", {href: address, download: "playlist.m3u8"}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
