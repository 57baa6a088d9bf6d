// The library: map, table, corrections, likes, recommendations, playlist.
import {announce, asJson, at, dot, el, get, grouped, icon, named, request, send} from "./api.js";
import {clock, percent, t} from "./i18n.js";
import {shared} from "./listen.js";
import {MapView} from "./map.js";
import {picture} from "./icons.js";
import {playButton, playTrack} from "./player.js";

const PAGE = 25, MOST = 500, MOST_CORRECTED = 5000, PLAYLIST = 12, PLAYLIST_PAGE = 100, MOST_EXPORTED = 5000;
const state = {offset: 0, total: 0, descending: false, tracks: [], genres: []};
const selected = new Map(), known = new Map();  // by id
// Browsers may forbid to store anything, and older pages or users may have stored something else.
function kept(name, isRight) {
  try { return JSON.parse(localStorage.getItem(name) ?? "[]").filter(isRight); } catch { return []; }
}
const isPair = (each) => each?.length === 2 && each.every((text) => typeof text === "string");
const likes = new Map(kept("likes", isPair)), dislikes = new Map(kept("dislikes", isPair));  // id to name
let playlist = kept("playlist", (each) => typeof each?.id === "string" && typeof each.name === "string");  // {id, name, duration, is_remote}
const shownGenres = new Set();
let map, playing = null, loads = 0, playlistFrom = 0;  // the place of the first track of the playlist that is shown

function keep() {
  const now = {likes: [...likes], dislikes: [...dislikes], playlist};
  try { for (const [name, value] of Object.entries(now)) localStorage.setItem(name, JSON.stringify(value)); } catch { /* it is forgotten */ }
}

export async function start(models) {
  at(models.library ? "library-body" : "no-library").hidden = false;
  if (!models.library) return;
  shared.hasLibrary = models.library.same_model;
  state.genres = models.library.genres;
  const options = (names) => names.map(([value, text]) => el("option", {value}, text));
  at("filter-genre").append(...options([["", t("all_genres")], ...state.genres.map((g) => [g, g])]));
  at("bulk-genre").append(el("option", {value: "-", disabled: true, selected: true}, t("correctTo")), ...options([...state.genres.map((g) => [g, g]), ["", t("asModel")]]));
  at("sort").append(...options(["name", "artist", "album", "year", "genre", "confidence", "duration"].map((each) => [each, t(each)])));
  let timer;
  at("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { state.offset = 0; load(); }, 200); });
  for (const each of ["filter-genre", "filter-kind", "sort"]) at(each).addEventListener("change", () => { state.offset = 0; load(); });
  at("filters").addEventListener("submit", (e) => e.preventDefault());
  at("descending").addEventListener("click", () => order(at("sort").value, !state.descending));
  at("previous").addEventListener("click", () => { state.offset -= PAGE; load(); });
  at("next").addEventListener("click", () => { state.offset += PAGE; load(); });
  at("bulk-apply").addEventListener("click", () => { if (at("bulk-genre").value !== "-") correct([...selected.keys()], at("bulk-genre").value || null); });
  at("bulk-all").addEventListener("click", selectAll);
  at("bulk-none").addEventListener("click", () => { selected.clear(); showTable(); at("search").focus(); });
  at("bulk-add").addEventListener("click", () => add([...selected.values()]));
  at("bulk-between").addEventListener("click", between);
  at("recommend").addEventListener("click", recommend);
  at("export").addEventListener("click", exportPlaylist);
  at("clear").addEventListener("click", () => { playlist = []; showPlaylist(); });
  document.addEventListener("playing", (e) => { playing = e.detail; for (const row of document.querySelectorAll("#tracks tr[data-id]")) row.classList.toggle("current", row.dataset.id === playing); map.playing = map.tracks.find((track) => track.id === playing) ?? null; map.draw(); });
  dropTarget();
  map = new MapView(at("map"), {onchoose: showCard, onhover: hover});
  at("map").addEventListener("playchosen", (e) => playTrack(e.detail));
  at("map-zoom").append(icon("add", t("closer"), () => map.zoom(1.5)), icon("less", t("wider"), () => map.zoom(1 / 1.5)), icon("whole", t("whole"), () => map.reset()));
  showPlaylist(); showLikes();
  shared.mapDrawn = loadMap();
  await load();
}

async function loadMap() {
  for (;;) {
    try { shared.map = await get("/v1/map"); break; }
    catch (problem) {
      at("legend").textContent = problem.status === 503 ? t("mapDrawing") : problem.message;
      if (problem.status !== 503) { at("map").hidden = at("map-zoom").hidden = true; return; }
      await new Promise((done) => setTimeout(done, 1000 * problem.retryAfter));
    }
  }
  map.set(shared.map.tracks, shared.map.extent);
  showLegend();
}

function showLegend() {
  if (!shared.map) return;
  const counts = grouped(shared.map.tracks, (track) => track.genre);
  at("legend").replaceChildren(...[...counts].sort((a, b) => b[1].length - a[1].length).map(([genre, tracks]) =>
    el("button", {type: "button", "aria-pressed": shownGenres.has(genre), onclick: (e) => {
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
  tip.replaceChildren(named(track.name), ` · ${track.genre}`);
  const x = Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth), y = event.clientY - box.top;
  tip.style.transform = `translate(${Math.max(0, x)}px, ${y + 14 + tip.offsetHeight > box.height ? y - 10 - tip.offsetHeight : y + 14}px)`;
}

function showCard(track) {
  const card = at("map-card");
  card.hidden = false;
  card.replaceChildren(playButton(track), el("span", {class: "name"}, named(track.name), el("small", {}, dot(track.genre), track.genre)),
    el("span", {class: "icons"}, ...marks(track), plus(track)), el("button", {type: "button", onclick: () => showSimilar(track)}, t("similar")));
}

const plus = (track) => icon("add", `${t("add")}: ${track.name}`, () => add([track]));

async function showSimilar(track) {
  const form = new FormData();
  form.append("track", track.id);
  let tracks;
  try { ({tracks} = await (await request("/v1/similar", {method: "POST", body: form})).json()); }
  catch (problem) { at("recommend-hint").textContent = problem.message; return; }
  listTracks(tracks, `${t("similar")}: ${track.name}`, (each) => percent(Math.max(0, each.similarity)));
  at("recommended-title").scrollIntoView({block: "nearest"});
}

function listTracks(tracks, hint, figure) {
  at("recommend-hint").textContent = tracks.length ? hint : t("noneAlike");
  at("recommended").replaceChildren(...tracks.map((track) => el("li", draggable(track), playButton(track),
    el("span", {class: "name"}, named(track.name), track.reason ? el("small", {}, track.reason) : null), el("span", {class: "meta"}, dot(track.corrected_genre ?? track.genre), figure(track)),
    plus(track))));
}

function order(by, descending) {
  at("sort").value = by;
  state.descending = descending; state.offset = 0;
  at("descending").setAttribute("aria-pressed", descending);
  load();
}

function query(offset, limit) {
  const kind = at("filter-kind").value, found = new URLSearchParams({sort: at("sort").value || "name", descending: state.descending, offset, limit});
  if (at("search").value.trim()) found.set("q", at("search").value.trim());
  if (at("filter-genre").value) found.set("genre", at("filter-genre").value);
  if (kind === "unsure") found.set("max_confidence", 0.6);
  if (kind === "corrected") found.set("corrected", true);
  return `/v1/tracks?${found}`;
}

const isFiltered = () => Boolean(at("search").value.trim() || at("filter-genre").value || at("filter-kind").value);

async function load() {
  const own = ++loads;
  let found;
  try { found = await get(query(Math.max(0, state.offset), PAGE)); }
  catch (problem) { at("correct-problem").textContent = problem.message; return; }
  if (own !== loads) return;  // the filters have changed meanwhile
  at("correct-problem").textContent = "";
  // The library has become smaller meanwhile: its last page instead of one beyond the end.
  if (!found.tracks.length && found.total && state.offset) { state.offset = PAGE * Math.floor((found.total - 1) / PAGE); await load(); return; }
  state.tracks = found.tracks; state.total = found.total;
  for (const track of found.tracks) known.set(track.id, track);
  showTable();
}

async function selectAll() {
  at("correct-problem").textContent = "";
  try {
    for (let offset = 0; offset < state.total; offset += MOST) {
      for (const track of (await get(query(offset, MOST))).tracks) selected.set(track.id, track);
    }
  } catch (problem) { at("correct-problem").textContent = problem.message; showTable(); return; }
  showTable();
  at("bulk-genre").focus();
}

function heading(by, more = "") {
  const chosen = at("sort").value === by;
  return el("th", {scope: "col", class: more, "aria-sort": chosen ? (state.descending ? "descending" : "ascending") : null},
    el("button", {type: "button", class: "heading", "data-sort": by, onclick: () => {
      order(by, chosen ? !state.descending : by === "confidence" || by === "year");
      document.querySelector(`[data-sort="${by}"]`).focus();
    }}, t(by), chosen ? picture(state.descending ? "down" : "up") : null));
}

function showTable() {
  const head = at("tracks").tHead, body = at("tracks").tBodies[0];
  const focused = document.activeElement?.dataset?.sort ?? document.activeElement?.id;
  head.replaceChildren(el("tr", {}, el("th", {scope: "col"}, el("label", {}, el("input", {type: "checkbox", id: "select-page", "aria-label": `${t("select")}: ${t("all")}`,
    checked: state.tracks.length > 0 && state.tracks.every((track) => selected.has(track.id)), onchange: (e) => {
      for (const track of state.tracks) e.target.checked ? selected.set(track.id, track) : selected.delete(track.id);
      showTable();
    }}), el("span", {class: "narrow", "aria-hidden": "true"}, ` ${t("all")}`))), el("th", {scope: "col"}, el("span", {class: "visually-hidden"}, t("play"))), heading("name"), heading("genre"), heading("confidence", "number wide"), heading("duration", "number wide"),
  el("th", {scope: "col"}, el("span", {class: "visually-hidden"}, `${t("like")}, ${t("add")}`))));
  body.replaceChildren(...(state.tracks.length ? state.tracks.map(row) : [el("tr", {}, el("td", {colspan: "7", class: "none"}, t(isFiltered() ? "noMatch" : "noTracks")))]));
  const last = Math.min(state.offset + PAGE, state.total);
  at("page-of").textContent = state.total ? t("pageOf", state.offset + 1, last, state.total) : "";
  at("library-count").textContent = t("count", state.total);
  at("previous").disabled = state.offset <= 0; at("next").disabled = last >= state.total;
  // At either end the other button has the focus: one that is disabled loses it.
  const place = focused && (document.querySelector(`[data-sort="${focused}"]`) ?? document.getElementById(focused));
  if (place) (place.disabled ? at(place.id === "next" ? "previous" : "next") : place).focus();
  showBulk();
}

function row(track) {
  const genre = track.corrected_genre ?? track.genre;
  const choice = el("select", {"aria-label": t("genreOf", track.name), id: `genre-${track.id}`, onchange: (e) => correct([track.id], e.target.value || null)},
    ...(genre ? [] : [el("option", {value: ""}, "–")]), ...state.genres.map((each) => el("option", {value: each, selected: each === genre}, each)),
    track.corrected_genre ? el("option", {value: ""}, t("asModel")) : null);
  const about = [track.title && track.artist, track.album, track.year].filter(Boolean).join(" · ") || track.problem || "";
  const sure = track.genre ? percent(track.confidence) : "";
  return el("tr", {"data-id": track.id, class: track.id === playing ? "current" : "", ...draggable(track)},
    el("td", {}, el("input", {type: "checkbox", checked: selected.has(track.id), "aria-label": `${t("select")}: ${track.name}`, onchange: (e) => {
      e.target.checked ? selected.set(track.id, track) : selected.delete(track.id); showBulk();
    }})),
    el("td", {class: "tight"}, playButton(track)),
    el("td", {}, named(track.title ?? track.name), about ? el("small", {}, named(about)) : null),
    el("td", {}, el("span", {class: "genre-cell"}, dot(genre), choice), track.corrected_genre ? el("small", {class: "was"}, picture("edit"), t("modelSaid", track.genre)) : null),
    el("td", {class: "number wide"}, sure, track.genre ? el("span", {class: "sure", "aria-hidden": "true"}, el("span", {style: {width: sure.replace(/\s/g, "")}})) : null),
    el("td", {class: "number wide"}, clock(track.duration)),
    el("td", {class: "tight"}, el("span", {class: "icons"}, ...marks(track), plus(track))));
}

function marks(track) {
  const mark = (own, other, sign, word) => icon(sign, `${t(word)}: ${track.name}`, () => {
    own.has(track.id) ? own.delete(track.id) : own.set(track.id, track.name);
    other.delete(track.id);
    showLikes();
  }, {"aria-pressed": own.has(track.id), "data-mark": track.id, "data-kind": word});
  return [mark(likes, dislikes, "heart", "like"), mark(dislikes, likes, "dislike", "dislike")];
}

function showLikes() {
  keep();
  for (const each of document.querySelectorAll("[data-mark]")) each.setAttribute("aria-pressed", (each.dataset.kind === "like" ? likes : dislikes).has(each.dataset.mark));
  at("recommend").disabled = !likes.size;
  if (!likes.size) at("recommend-hint").textContent = t("recommendHint");
  else if ([t("recommendHint"), t("gone")].includes(at("recommend-hint").textContent)) at("recommend-hint").textContent = "";
  const chips = (own, sign) => [...own].map(([id, name]) => el("li", {}, el("button", {type: "button", class: `chip ${sign}`, "aria-label": t("unlike", name), title: t("unlike", name),
    onclick: () => { own.delete(id); showLikes(); (at("liked").querySelector("button") ?? at("recommend")).focus(); }}, picture(sign), named(name), picture("close"))));
  at("liked").replaceChildren(...chips(likes, "heart"), ...chips(dislikes, "dislike"));
}

function showBulk() {
  at("bulk").hidden = !selected.size;
  at("bulk-count").textContent = t("selected", selected.size);
  at("bulk-all").textContent = t("selectAll", state.total);
  at("bulk-all").hidden = selected.size >= state.total;
  at("bulk-between").disabled = selected.size !== 2;
  const page = at("select-page");
  if (page) page.checked = state.tracks.length > 0 && state.tracks.every((track) => selected.has(track.id));
}

async function correct(ids, genre) {
  const problem = at("correct-problem"), tracks = [];
  problem.textContent = "";
  let failed = false;
  try {
    for (let i = 0; i < ids.length; i += MOST_CORRECTED) tracks.push(...(await send("PATCH", "/v1/tracks", {ids: ids.slice(i, i + MOST_CORRECTED), genre})).tracks);
  } catch (error) { failed = true; problem.textContent = error.status === 503 ? t("scanning") : error.message; }
  // What the requests before a failure have changed is shown as well.
  const after = new Map(tracks.map((track) => [track.id, track]));
  state.tracks = state.tracks.map((track) => after.get(track.id) ?? track);
  for (const id of selected.keys()) if (after.has(id)) selected.set(id, after.get(id));
  for (const point of shared.map?.tracks ?? []) if (after.has(point.id)) point.genre = after.get(point.id).corrected_genre ?? after.get(point.id).genre;
  if (!failed) at("bulk-genre").value = "-";
  if (tracks.length > 1) announce(t("correctedCount", t("count", tracks.length)));
  showTable(); showLegend(); map.draw();
}

async function recommend() {
  const n = PLAYLIST, body = () => ({likes: [...likes.keys()], dislikes: [...dislikes.keys()], n});
  try {
    const {tracks} = await unlessGone(() => send("POST", "/v1/recommend", body()), () => likes.size > 0);
    listTracks(tracks, t("likeMore", t("count", likes.size)), (each) => each.corrected_genre ?? each.genre);
  } catch (problem) { at("recommend-hint").textContent = problem.message; }
}

// What is remembered here may have left the library meanwhile: it is taken out, and we ask again if something is left.
async function unlessGone(ask, someLeft) {
  try { return await ask(); }
  catch (problem) {
    if (problem.status !== 404) throw problem;
    const gone = new Set();
    for (const id of new Set([...likes.keys(), ...dislikes.keys(), ...playlist.map((track) => track.id)])) {
      await get(`/v1/tracks/${id}`).catch((each) => { if (each.status === 404) gone.add(id); });
    }
    for (const id of gone) { likes.delete(id); dislikes.delete(id); }
    playlist = playlist.filter((track) => !gone.has(track.id));
    showPlaylist(); showLikes();
    announce(t("gone"));
    if (!someLeft()) throw new Error(t("gone"));
    return ask();
  }
}

// --- Playlist ---

const draggable = (track) => ({draggable: "true", ondragstart: (e) => e.dataTransfer.setData("application/x-track", JSON.stringify({id: track.id, name: track.name, is_remote: track.is_remote, duration: track.duration ?? 0}))});

// As many as fit; the list is written and drawn once, however many they are.
function add(tracks, before = playlist.length) {
  const fit = tracks.slice(0, Math.max(0, MOST_EXPORTED - playlist.length));
  playlist.splice(before, 0, ...fit.map((track) => ({id: track.id, name: track.name, duration: track.duration ?? known.get(track.id)?.duration ?? 0, is_remote: track.is_remote})));
  showPlaylist(before);
  if (fit.length) announce(t("added", fit.length === 1 ? fit[0].name : t("count", fit.length)));
  if (fit.length < tracks.length) at("playlist-problem").textContent = t("notAdded", t("count", tracks.length - fit.length), t("count", MOST_EXPORTED));
}

function move(from, to) {
  if (to < 0 || to >= playlist.length) return;
  playlist.splice(to, 0, ...playlist.splice(from, 1));
  showPlaylist(to);
  focusPlace(to, to < from ? "[data-up]" : "[data-down]");
}

// The list is made anew at each change; who uses the keyboard goes on from where they were.
function focusPlace(place, what) {
  const item = at("playlist").children[Math.min(place, playlist.length - 1) - playlistFrom], button = item?.querySelector(`${what}:not(:disabled)`) ?? item?.querySelector("button");
  (button ?? at("playlist-panel")).focus();
}

function dropTarget() {
  const panel = at("playlist-panel");
  panel.addEventListener("dragover", (e) => { if ([...e.dataTransfer.types].some((each) => each.startsWith("application/x-"))) { e.preventDefault(); panel.classList.add("over"); } });
  panel.addEventListener("dragleave", (e) => { if (!panel.contains(e.relatedTarget)) panel.classList.remove("over"); });
  panel.addEventListener("drop", (e) => {
    e.preventDefault();
    panel.classList.remove("over");
    const onto = e.target.closest("#playlist li"), to = onto ? playlistFrom + [...onto.parentElement.children].indexOf(onto) : playlist.length;
    const own = e.dataTransfer.getData("application/x-place"), track = e.dataTransfer.getData("application/x-track");
    if (own) move(Number(own), Math.min(to, playlist.length - 1));
    else if (track) add([JSON.parse(track)], to);
  });
}

// Show the page of the playlist that has a place.
function showPlaylist(place = playlistFrom) {
  keep();
  const last = Math.max(0, playlist.length - 1);
  playlistFrom = PLAYLIST_PAGE * Math.floor(Math.min(place, last) / PLAYLIST_PAGE);
  at("playlist-problem").textContent = "";
  at("playlist-hint").hidden = playlist.length > 0;
  at("playlist-hint").textContent = t("playlistHint");
  at("export").disabled = at("clear").disabled = !playlist.length;
  at("playlist").start = playlistFrom + 1;
  at("playlist").replaceChildren(...playlist.slice(playlistFrom, playlistFrom + PLAYLIST_PAGE).map(item));
  showPlaylistPages();
}

function item(track, i) {
  const place = playlistFrom + i;
  return el("li", {draggable: "true", ondragstart: (e) => e.dataTransfer.setData("application/x-place", place)},
    playButton(track, () => ({tracks: [...playlist], index: place})), el("span", {class: "name"}, named(track.name)), el("span", {class: "meta"}, clock(track.duration ?? 0)),
    el("span", {class: "icons"}, icon("up", `${t("up")}: ${track.name}`, () => move(place, place - 1), {disabled: place === 0, "data-up": ""}),
      icon("down", `${t("down")}: ${track.name}`, () => move(place, place + 1), {disabled: place === playlist.length - 1, "data-down": ""}),
      icon("close", `${t("remove")}: ${track.name}`, () => { playlist.splice(place, 1); showPlaylist(place); focusPlace(place, "button"); })));
}

function showPlaylistPages() {
  const end = Math.min(playlistFrom + PLAYLIST_PAGE, playlist.length);
  const turn = (name, place, disabled) => el("button", {type: "button", disabled, "data-turn": name, onclick: () => {
    showPlaylist(place);
    (at("playlist-pages").querySelector(`[data-turn=${name}]:enabled`) ?? at("playlist-pages").querySelector("button:enabled"))?.focus();
  }}, t(name));
  at("playlist-pages").hidden = playlist.length <= PLAYLIST_PAGE;
  at("playlist-pages").replaceChildren(turn("previous", playlistFrom - PLAYLIST_PAGE, !playlistFrom),
    el("span", {}, t("pageOf", playlistFrom + 1, end, playlist.length)), turn("next", end, end >= playlist.length));
}

async function between() {
  const [from, to] = [...selected.keys()], length = Math.min(PLAYLIST, shared.map?.tracks.length ?? PLAYLIST);
  try { playlist = (await send("POST", "/v1/playlist", {from, to, length})).tracks.map(({id, name, duration, is_remote}) => ({id, name, duration, is_remote})); }
  catch (problem) { at("playlist-problem").textContent = problem.message; return; }
  showPlaylist(0);
  at("playlist-title").scrollIntoView({block: "nearest"});
}

async function exportPlaylist() {
  let file;
  at("playlist-problem").textContent = playlist.length > MOST_EXPORTED ? t("playlistFull", MOST_EXPORTED) : "";  // of an older page
  if (playlist.length > MOST_EXPORTED) return;
  const ask = () => request("/v1/playlist.m3u8", asJson("POST", {ids: playlist.map((track) => track.id)}));
  try { file = await (await unlessGone(ask, () => playlist.length > 0)).blob(); }
  catch (problem) { at("playlist-problem").textContent = problem.message; return; }
  const address = URL.createObjectURL(file);
  el("a", {href: address, download: "playlist.m3u8"}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
