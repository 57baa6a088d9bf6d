// The page: which of its three views is shown, and what they share.
import {at, get, looks, showFailure} from "./api.js";
import {t, translate} from "./i18n.js";
import * as laboratory from "./laboratory.js";
import * as library from "./library.js";
import * as listen from "./listen.js";
import {picture} from "./icons.js";

const views = ["listen", "library", "laboratory"];
let first = true;

async function show() {
  const name = views.find((each) => `#${each}` === location.hash) ?? "listen";
  for (const each of views) at(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) link.hash === `#${name}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.title = `${t(name)} – Genrescope`;
  if (!first) at("main").focus({preventScroll: true});
  first = false;
  scrollTo(0, 0);
  if (name === "laboratory") await laboratory.show();
}

translate(document);
for (const [id, name] of [["player-previous", "previous"], ["player-next", "next"], ["player-toggle", "play"], ["descending", "down"]]) at(id).append(picture(name));
document.querySelector(".volume").prepend(picture("volume"));
listen.start();
addEventListener("hashchange", show);
show();
await start();

async function start() {
  let models;
  try { models = await get("/v1/models"); } catch (problem) { showFailure(at("start-problem"), problem, start); return; }
  at("start-problem").replaceChildren();
  models.model.genres.forEach((genre, number) => looks.set(genre, models.model.looks[number % models.model.looks.length]));
  models.library?.genres.forEach((genre, number) => looks.set(genre, models.model.looks[number % models.model.looks.length]));
  document.dispatchEvent(new Event("looks"));
  await library.start(models);
  document.body.dataset.ready = "yes";
}
