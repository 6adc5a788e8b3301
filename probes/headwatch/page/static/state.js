"use strict";
// What the reader has chosen, and the link that restores it. Everything drawn follows from `state` and the runs.

const MOST_PICKS = 6;

const state = {
  run: null,            // names of runs
  other: null,
  series: null,         // key of the series of heads
  colour: "effect",     // effect, normalized, or the key of a score
  scale: "run",
  step: null,           // null: the newest
  picks: [],            // [layer, head], the first is the picked one, the others are compared
  since: null,          // null: the first pass
  prompt: null,         // [label, index]
  view: null,           // null: map and lines of one head, maps alone of several
  compare: "both",
  scalar: null,
  axis: "linear",
  position: null,       // key of the series by position
  positionView: null,
  pair: 0,
  theme: null,
};

const TEXTS = {
  run: "run", vs: "other", probe: "series", colour: "colour", scale: "scale", view: "view", compare: "compare",
  below: "scalar", axis: "axis", position: "position", show: "positionView", theme: "theme",
};
const ONE_OF = {
  view: ["map", "lines", "both"], compare: ["both", "difference"], scale: ["run", "step"], axis: ["linear", "log"],
  theme: ["light", "dark"],
};

/** The view as the part of a link after #. */
function linkOf(view) {
  const link = new URLSearchParams();
  if (view.step !== null) link.set("step", view.step);
  if (view.picks.length) link.set("head", view.picks.map((head) => head.join(".")).join(","));
  for (const [name, key] of Object.entries(TEXTS)) if (view[key] !== null) link.set(name, view[key]);
  if (view.since !== null) link.set("since", view.since);
  if (view.prompt !== null) link.set("prompt", view.prompt.join(":"));
  if (view.pair) link.set("pair", view.pair);
  return link.toString();
}

/** Take over what a link says; what makes no sense is left as it was. */
function readLink(text) {
  const link = new URLSearchParams(text.replace(/^#/, ""));
  for (const [name, key] of Object.entries(TEXTS)) {
    const value = link.get(name);
    if (value !== null && (!(key in ONE_OF) || ONE_OF[key].includes(value))) state[key] = value;
  }
  state.step = wholeOr(link.get("step"), state.step);
  state.since = wholeOr(link.get("since"), state.since);
  state.pair = wholeOr(link.get("pair"), state.pair);
  if (link.has("head")) state.picks = readHeads(link.get("head"));
  if (link.has("prompt")) {
    const [index, ...label] = link.get("prompt").split(":").reverse();
    state.prompt = [label.reverse().join(":"), wholeOr(index, 0)];
  }
}

function wholeOr(text, fallback) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : fallback;
}

function readHeads(text) {
  const heads = text.split(",").map((head) => head.split(".").map((part) => wholeOr(part, NaN)));
  return heads.filter((head) => head.length === 2 && head.every(Number.isFinite)).slice(0, MOST_PICKS);
}

let linkTimer = 0;

/** Write the view into the address, at most a few times a second: browsers refuse more. */
function saveLink() {
  clearTimeout(linkTimer);
  linkTimer = setTimeout(() => history.replaceState(null, "", `#${linkOf(state)}`), 250);
}

function sameHead(a, b) {
  return a[0] === b[0] && a[1] === b[1];
}

/** Pick a head alone, or add it to (or take it from) the compared ones. */
function pick(head, compare) {
  const others = state.picks.filter((other) => !sameHead(other, head));
  if (!compare) state.picks = [head];
  else if (others.length < state.picks.length && others.length) state.picks = others;
  else state.picks = [...others, head].slice(-MOST_PICKS);
  changed();
}

function unpick(head) {
  state.picks = state.picks.filter((other) => !sameHead(other, head));
  changed();
}

/** Everything that drawing needs, worked out once a frame. */
function lookUp(runs) {
  const run = runs.find((known) => known.name === state.run) ?? runs[0] ?? null;
  if (!run || !run.loaded) return { run, other: null, series: null, steps: [], step: null, picks: [], index: -1 };
  const other = runs.find((known) => known.name === state.other && known !== run && known.loaded) ?? null;
  const series = run.series.get(state.series) ?? defaultSeries(run.headSeries());
  const steps = run.steps();
  const step = state.step === null ? steps.at(-1) ?? null : steps[Math.max(0, indexAt(steps, state.step))] ?? null;
  const index = series && step !== null ? indexAt(series.steps, step) : -1;
  return { run, other, series, steps, step, index, ...colouring(run, series, step), ...counterpart(other, series, step), picks: picked(series) };
}

/** The series to start with: effects before estimates before scores, the longest first. */
function defaultSeries(all) {
  const rank = (series) => [series.isScore ? 2 : series.exact ? 0 : 1, series.dims[1] === "head" ? 0 : 1, -series.steps.length];
  const ranked = all.map((series) => ({ series, rank: rank(series) }));
  ranked.sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1] || a.rank[2] - b.rank[2]);
  return ranked.length ? ranked[0].series : null;
}

function colouring(run, series, step) {
  const normalized = state.colour === "normalized" && Boolean(series?.canNormalize);
  const score = run.series.get(state.colour);
  const tint = score && series && score.shape.join() === series.shape.join() ? score : series;
  return { normalized: normalized && tint === series, tint, tintIndex: tint && step !== null ? indexAt(tint.steps, step) : -1 };
}

function counterpart(other, series, step) {
  if (!other || !series) return { otherSeries: null, otherIndex: -1 };
  const same = (known) => known.metric === series.metric && known.site === series.site && known.kind === series.kind
    && known.probe === series.probe && known.shape.join() === series.shape.join();
  const found = other.series.get(series.key) ?? other.headSeries().find(same) ?? null;
  return { otherSeries: found, otherIndex: found ? indexAt(found.steps, step) : -1 };
}

/** The picked heads that the series has; where none is picked, the strongest of its last pass. */
function picked(series) {
  if (!series || !series.points.length) return state.picks;
  const [rows, columns = 1] = series.shape;
  const known = state.picks.filter(([layer, head]) => layer < rows && head < columns);
  if (known.length) return known;
  const last = series.points.at(-1).mean;
  let best = 0;
  last.forEach((value, cell) => { if (Math.abs(value) > Math.abs(last[best])) best = cell; });
  return [[Math.floor(best / columns), best % columns]];
}
