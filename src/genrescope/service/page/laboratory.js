// Runs, their reports, and the comparison with the papers.
import {at, el, get, showFailure} from "./api.js";
import {decimal, t} from "./i18n.js";

const points = (share) => (share === null || share === undefined ? "–" : decimal(100 * share));
const nameOf = (run) => (run.leaked ? `${run.name} ${t("leaked")}` : run.name);

function table(label, heads, rows) {
  return el("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": label}, el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map(([text, number]) => el("th", {scope: "col", class: number ? "number" : ""}, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el("td", {class: heads[i][1] ? "number" : ""}, cell)))))));
}

export async function show() {
  for (const each of ["runs", "comparison"]) if (!at(each).hasChildNodes()) at(each).append(el("p", {class: "quiet"}, t("loading")));
  await Promise.all([showRuns(), showComparison()]);
}

// What can't be read is said in its place; the other table is shown all the same.
async function read(id, again) {
  try { return await get(`/v1/${id}`); } catch (problem) { showFailure(at(id), problem, again); return null; }
}

async function showRuns() {
  const {runs} = await read("runs", showRuns) ?? {};
  if (!runs) return;
  at("runs").replaceChildren(runs.length ? table(t("runs"), [[t("run")], [t("accuracy"), 1], [t("interval"), 1], [t("macroF1"), 1], [t("n"), 1]],
    runs.map((run) => [run.has_report ? el("a", {href: `/v1/runs/${run.id}/report`, target: "_blank", rel: "noopener", title: t("report")}, nameOf(run)) : nameOf(run), points(run.accuracy), run.interval ? run.interval.map(points).join(" – ") : "–", points(run.macro_f1), String(run.n)])) : el("p", {class: "quiet"}, t("noRuns")));
}

async function showComparison() {
  const {rows} = await read("comparison", showComparison) ?? {};
  if (!rows) return;
  at("comparison").replaceChildren(rows.length ? table(t("comparison"), [[t("paper")], [t("run")], [t("metric")], [t("published"), 1], [t("ours"), 1], [t("difference"), 1]],
    rows.map((row) => [`${row.paper}, ${row.table}`, row.run?.name ?? "–", row.metric, decimal(row.value_percent), row.ours_percent === null ? "–" : decimal(row.ours_percent), row.difference === null ? "–" : (row.difference > 0 ? "+" : "") + decimal(row.difference)])) : el("p", {class: "quiet"}, t("noComparison")));
}
