// @ts-check
// Start, and redraw: each card only what changed.

import { attention } from "./attention.js";
import { showBudget } from "./budget.js";
import { watchSize } from "./card.js";
import { changes } from "./changes.js";
import { showControls } from "./choices.js";
import { bindControls, useTheme } from "./controls.js";
import { byId, inside } from "./dom.js";
import { addTools } from "./export.js";
import { formatNumber, metricName } from "./format.js";
import { gradients } from "./gradients.js";
import { heads } from "./heads.js";
import { position } from "./position.js";
import { redrawing, refresh } from "./redraw.js";
import { embeddedSource, liveSource, readyFrame } from "./source.js";
import { readLink, state } from "./state.js";
import { thumbnails } from "./thumbnails.js";
import { trajectory } from "./trajectory.js";
import { lookUp } from "./view.js";

/** @import { Run } from "./runs.js" */
/** @import { DrawnCard, RunPayload, Source, View } from "./types.js" */

/** @type {DrawnCard[]} */
const cards = [heads, trajectory, changes, thumbnails, attention, position, gradients];

/** @type {(source: Source) => void} */
function redraw(source) {
  const start = performance.now();
  const view = lookUp(source);
  heads.view = view;
  showControls(view);
  for (const card of cards) card.draw(view);
  showAbout(view);
  showBudget(view);
  performance.clearMeasures("headwatch:redraw");
  performance.measure("headwatch:redraw", { start, end: performance.now() });
}

/**
 * The footer: what the pass was, and what the record's writers or its reader noted.
 * @type {(view: View) => void}
 */
function showAbout({ source, run, series, index }) {
  const point = series?.points[index];
  const parts = [];
  if (run?.loaded) parts.push(sizesOf(run));
  if (point?.n) parts.push(`${point.n} pairs`);
  if (series && Number.isFinite(point?.baseline)) {
    parts.push(`baseline ${metricName(series.metric)} ${formatNumber(point?.baseline)}`);
  }
  if (point?.seconds) parts.push(`pass took ${formatNumber(point.seconds)} s`);
  const text = parts.filter(Boolean).join(" · ");
  const about = byId("about");
  if (about.textContent !== text) about.textContent = text;
  showNotes(source, run);
}

/** @type {(run: Run) => string} */
function sizesOf({ model }) {
  return Object.entries(model)
    .map(([name, size]) => `${name.replace(/^n_/, "")} ${size}`)
    .join(", ");
}

/** @type {(source: Source, run: Run | null) => void} */
function showNotes(source, run) {
  const written = run ? run.notes.map(({ level, message }) => `${level}: ${message}`) : [];
  const lines = [...written, ...(run?.problems ?? []), ...source.problems];
  const notes = byId("notes");
  notes.hidden = !lines.length;
  if (notes.dataset.lines === lines.join("\n")) return;
  notes.dataset.lines = lines.join("\n");
  const several = lines.length === 1 ? "note" : "notes";
  const about = source.problems.length ? "these runs" : "this run";
  inside(notes, "summary").textContent = `${lines.length} ${several} on ${about}`;
  const items = lines.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
  inside(notes, "ul").replaceChildren(...items);
}

/**
 * Decode a report's frames while nothing else happens, so that the slider never waits for one.
 * @type {(source: Source, run: Run) => Promise<void>}
 */
async function warmUp(source, run) {
  for (const group of run.frames.values()) {
    for (const frame of group.items) {
      await new Promise((resolve) => {
        setTimeout(resolve, 0);
      });
      readyFrame(source, run, frame, refresh);
    }
  }
}

/** What a live page says of its server. @type {(trouble: unknown) => void} */
function showLive(trouble) {
  const live = byId("live");
  live.hidden = false;
  live.classList.toggle("lost", trouble !== null);
  live.textContent = trouble === null ? "Live" : "No answer, trying again";
}

/**
 * The runs of a live page that are asked for news: those that are shown.
 * @type {(source: Source) => Run[]}
 */
function shownRuns(source) {
  const { run } = lookUp(source);
  return source.runs.filter((known) => known === run || known.name === state.other);
}

/** @type {() => void} */
function follow() {
  readLink(location.hash);
  useTheme();
  refresh();
}

export function start() {
  readLink(location.hash);
  useTheme();
  /** @type {{live: boolean, runs: RunPayload[]}} */
  const data = JSON.parse(byId("data").textContent ?? "");
  const source = data.live ? liveSource(refresh, showLive) : embeddedSource(data);
  source.wanted = () => shownRuns(source);
  redrawing.draw = () => redraw(source);
  for (const card of cards) {
    addTools(card);
    watchSize(card);
  }
  bindControls();
  addEventListener("hashchange", follow);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
  redraw(source);
  performance.mark("headwatch:ready");
  source.start();
  if (!data.live) for (const run of source.runs) warmUp(source, run);
}
