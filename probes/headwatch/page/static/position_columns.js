// @ts-check
// Which effects by position are shown, and what stands across: layers, one layer's heads, or each layer's strongest
// head.

import { state } from "./state.js";

/** @import { Run } from "./runs.js" */
/** @import { Series } from "./series.js" */
/** @import { Pair, PositionColumns, View } from "./types.js" */

/** @type {(run: Run | null) => Series | null} */
export function shownPositionSeries(run) {
  const all = run ? run.positionSeries() : [];
  return all.find((series) => series.key === state.position) ?? all[0] ?? null;
}

/**
 * What the columns are for the chosen view.
 * @type {(series: Series, view: View, index: number) => PositionColumns}
 */
export function positionColumns(series, view, index) {
  if (series.dims.length === 2) {
    const length = series.shape[1];
    const cell = (/** @type {number} */ row, /** @type {number} */ column) => column * length + row;
    return { name: "Layer", labels: series.rows, head: () => null, cell };
  }
  const layer = chosenLayer(series, view);
  return layer === null ? strongestHeads(series, index) : headsOf(series, layer);
}

/**
 * Where a head's effect at a position is.
 * @type {(series: Series, layer: number, head: number, row: number) => number}
 */
function cellAt({ shape }, layer, head, row) {
  return (layer * shape[1] + head) * shape[2] + row;
}

/** The heads of one layer, given by its row. @type {(series: Series, layer: number) => PositionColumns} */
function headsOf(series, layer) {
  const { rows, columns } = series;
  return {
    name: `Head of layer ${rows[layer]}`,
    labels: columns,
    head: (_, column) => [rows[layer], columns[column]],
    cell: (row, column) => cellAt(series, layer, column, row),
  };
}

/**
 * Every layer by its strongest head at the position.
 * @type {(series: Series, index: number) => PositionColumns}
 */
function strongestHeads(series, index) {
  const { rows, columns, points } = series;
  /** @type {(row: number, layer: number) => number} */
  const strongest = (row, layer) => {
    let best = 0;
    const size = (/** @type {number} */ head) =>
      Math.abs(points[index].mean[cellAt(series, layer, head, row)]) || 0;
    for (const head of columns.keys()) if (size(head) > size(best)) best = head;
    return best;
  };
  return {
    name: "Layer (its strongest head)",
    labels: rows,
    head: (row, column) => [rows[column], columns[strongest(row, column)]],
    cell: (row, column) => cellAt(series, column, strongest(row, column), row),
  };
}

/**
 * The row of the layer whose heads are shown; null for the strongest head of each layer.
 * @type {(series: Series, view: View) => number | null}
 */
function chosenLayer({ rows }, { picks }) {
  if (state.positionView === "layers") return null;
  const picked = state.positionView === null || state.positionView === "picked";
  return Math.max(0, rows.indexOf(picked ? (picks[0]?.[0] ?? rows[0]) : Number(state.positionView)));
}

/**
 * The prompt pairs that fit the series: of its length, its own before the run's.
 * @type {(run: Run, series: Series) => Pair[]}
 */
export function fittingPairs(run, series) {
  const entry = run.prompts.get(series.label) ?? run.prompts.get("") ?? [...run.prompts.values()][0];
  if (!entry) return [];
  const { clean, corrupted, position } = entry;
  const all = clean.map((tokens, i) => ({
    clean: tokens,
    corrupted: corrupted[i],
    position: position[i],
    number: i,
  }));
  return all.filter((pair) => pair.clean.length === series.shape.at(-1));
}
