// @ts-check
// What the map of heads shows: one run, two side by side, or their difference.

import { state } from "./state.js";

/** @import { CellLook, HeadMap, MeasuredView, Scale } from "./types.js" */

/** The maps to draw. @type {(view: MeasuredView) => HeadMap[]} */
export function headMaps(view) {
  const own = ownMap(view);
  const theirs = view.tint === view.series ? otherMap(view) : null;
  if (!theirs) return [own];
  return state.compare === "difference" ? [differenceMap(view, own, theirs)] : [own, theirs];
}

/** @type {(view: MeasuredView) => HeadMap} */
function ownMap(view) {
  const { tint, tintIndex, normalized, run, series, index } = view;
  return {
    name: run.name,
    run,
    series: tint,
    index: tintIndex,
    value: (cell) => tint.value(tintIndex, cell, normalized),
    half: (cell) => tint.half(tintIndex, cell, normalized),
    marked: (cell) => index >= 0 && series.marked(index, cell),
    estimated: (cell) => index >= 0 && series.estimated(index, cell),
    suspect: (cell) => index >= 0 && series.suspect(index, cell),
    difference: false,
  };
}

/** @type {(view: MeasuredView) => HeadMap | null} */
function otherMap({ other, otherSeries, otherIndex, normalized }) {
  if (!other || !otherSeries || otherIndex < 0) return null;
  return {
    name: other.name,
    run: other,
    series: otherSeries,
    index: otherIndex,
    value: (cell) => otherSeries.value(otherIndex, cell, normalized),
    half: (cell) => otherSeries.half(otherIndex, cell, normalized),
    marked: (cell) => otherSeries.marked(otherIndex, cell),
    estimated: (cell) => otherSeries.estimated(otherIndex, cell),
    suspect: (cell) => otherSeries.suspect(otherIndex, cell),
    difference: false,
  };
}

/**
 * This run minus the other; its variance is the sum of both.
 * @type {(view: MeasuredView, own: HeadMap, theirs: HeadMap) => HeadMap}
 */
function differenceMap({ index }, own, theirs) {
  /** @type {(cell: number) => number} */
  const value = (cell) => own.value(cell) - theirs.value(cell);
  /** @type {(cell: number) => number} */
  const half = (cell) => (index < 0 ? Number.NaN : Math.hypot(own.half(cell), theirs.half(cell)));
  return {
    name: `${own.name} − ${theirs.name}`,
    run: own.run,
    series: own.series,
    index: own.index,
    value,
    half,
    marked: (cell) => Math.abs(value(cell)) > half(cell),
    estimated: (cell) => own.estimated(cell) || theirs.estimated(cell),
    suspect: (cell) => own.suspect(cell) || theirs.suspect(cell),
    difference: true,
  };
}

/** The colour scale that all maps share. @type {(view: MeasuredView, maps: HeadMap[]) => Scale} */
export function headScale(view, maps) {
  if (maps[0].difference) return differenceScale(maps[0]);
  const [own, second] = maps.map((map) =>
    map.series.scale(view.normalized, state.scale === "step" ? map.index : null),
  );
  if (!second) return own;
  return { ...own, reach: Math.max(own.reach, second.reach), high: Math.max(own.high, second.high) };
}

/** @type {(map: HeadMap) => Scale} */
function differenceScale(map) {
  let reach = 0;
  for (let cell = 0; cell < map.series.cells; cell++) {
    reach = Math.max(reach, Math.abs(map.value(cell)) || 0);
  }
  return { diverging: true, centre: 0, reach: reach || 1, low: 0, high: 1 };
}

/** @type {(map: HeadMap, cell: number) => CellLook} */
export function lookOf(map, cell) {
  return {
    value: map.value(cell),
    marked: map.marked(cell),
    estimated: map.estimated(cell),
    suspect: map.suspect(cell),
  };
}
