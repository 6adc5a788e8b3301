// @ts-check
// What is to be drawn: the chosen run, series, step and heads, looked up in the runs.

import { state } from "./state.js";
import { indexAt } from "./steps.js";

/** @import { Run } from "./runs.js" */
/** @import { Series } from "./series.js" */
/** @import { MeasuredView, Place, Source, View } from "./types.js" */

/** @type {Source} */
const NO_SOURCE = {
  live: false,
  runs: [],
  problems: [],
  wanted: () => [],
  start: () => {},
  maps: async () => {
    throw new Error("there are no runs");
  },
  findings: async () => [],
};

/** @type {View} */
const NOTHING = {
  source: NO_SOURCE,
  run: null,
  other: null,
  series: null,
  steps: [],
  step: null,
  index: -1,
  picks: [],
  normalized: false,
  tint: null,
  tintIndex: -1,
  otherSeries: null,
  otherIndex: -1,
};

/** Whether something was measured per head. @param {View} view @returns {view is MeasuredView} */
export function isMeasured(view) {
  return view.run !== null && view.series !== null && view.tint !== null && view.step !== null;
}

/** Everything that drawing needs, worked out once a frame. @type {(source?: Source) => View} */
export function lookUp(source = NO_SOURCE) {
  const { runs } = source;
  const run = runs.find((known) => known.name === state.run) ?? runs[0] ?? null;
  if (!run?.loaded) return { ...NOTHING, source, run };
  const other = runs.find((known) => known.name === state.other && known !== run && known.loaded) ?? null;
  const series = run.series.get(state.series ?? "") ?? defaultSeries(run.headSeries());
  const steps = run.steps();
  const newest = steps.at(-1) ?? null;
  const step = state.step === null ? newest : (steps[Math.max(0, indexAt(steps, state.step))] ?? null);
  const found = { ...NOTHING, source, run, other, series, steps, step, picks: picked(series) };
  if (!series || step === null) return found;
  const index = indexAt(series.steps, step);
  return { ...found, index, ...colouring(run, series, step), ...counterpart(other, series, step) };
}

/**
 * The series to start with: effects before estimates before scores, the longest first.
 * @type {(all: Series[]) => Series | null}
 */
function defaultSeries(all) {
  /** @type {(series: Series) => number[]} */
  const rank = ({ isScore, firstOrder, isOfHeads, steps }) => [
    isScore ? 2 : Number(firstOrder),
    Number(!isOfHeads),
    -steps.length,
  ];
  const ranked = all.map((series) => ({ series, rank: rank(series) }));
  ranked.sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1] || a.rank[2] - b.rank[2]);
  return ranked[0]?.series ?? null;
}

/**
 * What colours the map: the series, normalised or not, or a score of the same heads.
 * @type {(run: Run, series: Series, step: number) => Pick<View, "normalized" | "tint" | "tintIndex">}
 */
function colouring(run, series, step) {
  const score = run.series.get(state.colour);
  const tint = score?.coversAs(series) ? score : series;
  const normalized = state.colour === "normalized" && series.canNormalize;
  return { normalized: normalized && tint === series, tint, tintIndex: indexAt(tint.steps, step) };
}

/**
 * The same question in the other run.
 * @type {(other: Run | null, series: Series, step: number) => Pick<View, "otherSeries" | "otherIndex">}
 */
function counterpart(other, series, step) {
  if (!other) return { otherSeries: null, otherIndex: -1 };
  /** @type {(known: Series) => boolean} */
  const same = (known) =>
    known.metric === series.metric &&
    known.site === series.site &&
    known.kind === series.kind &&
    known.probe === series.probe &&
    known.coversAs(series);
  const found = other.series.get(series.key) ?? other.headSeries().find(same) ?? null;
  return { otherSeries: found, otherIndex: found ? indexAt(found.steps, step) : -1 };
}

/**
 * The picked heads that the series has; where none is picked, the strongest of its last pass.
 * @type {(series: Series | null) => Place[]}
 */
function picked(series) {
  const last = series?.points.at(-1)?.mean;
  if (!series || !last) return state.picks;
  const known = state.picks.filter((place) => series.cellOf(place) >= 0);
  if (known.length) return known;
  let best = 0;
  last.forEach((value, cell) => {
    if (Math.abs(value) > Math.abs(last[best])) best = cell;
  });
  return [series.placeOf(best)];
}
