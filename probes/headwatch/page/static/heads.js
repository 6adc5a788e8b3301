// @ts-check
// The layer-by-head map: one cell a head, its effect (or a score) as colour, a dot where it stands out.

import { clipped, drawLegend, fit, font, write } from "./canvas.js";
import { announce, hideTip, makeCard, showTip } from "./card.js";
import { palette } from "./colours.js";
import { byId, canvasesIn } from "./dom.js";
import {
  estimateLines,
  formatEffect,
  formatNumber,
  formatStep,
  numberCell,
  quantity,
  seriesTitle,
  titleCase,
  withUnit,
} from "./format.js";
import { drawAxes, drawCells, drawFrame, gridAt, listen } from "./grid.js";
import { headMaps, headScale, lookOf } from "./head_maps.js";
import { refresh } from "./redraw.js";
import { pick } from "./state.js";
import { indexAt } from "./steps.js";
import { isMeasured, lookUp } from "./view.js";

/** @import { Cell, Context, Grid, HeadMap, MeasuredView, Place, Row, Scale, View } from "./types.js" */

const LEFT = 36;
const GAP = 18;
const card = makeCard("heads");
const legend = /** @type {HTMLCanvasElement} */ (byId("legend"));

export const heads = {
  ...card,
  canvas: canvasesIn(card.stage)[0],
  grids: /** @type {Grid[]} */ ([]),
  at: /** @type {Cell} */ ([0, 0]),
  view: lookUp(),
  draw,
  sheet,
  pictures: () => [heads.canvas, legend],
};

/** @type {(view: View) => void} */
function draw(view) {
  heads.view = view;
  byId("compare-view").hidden = !view.otherSeries;
  const missing = whyNothing(view);
  heads.say(missing);
  if (missing !== null || !heads.size.width || !isMeasured(view)) return;
  const maps = headMaps(view);
  const scale = headScale(view, maps);
  heads.grids = layOut(view, maps);
  const context = fit(heads.canvas, heads.size.width, heads.grids[0].bottom + 3);
  for (const [i, map] of maps.entries()) drawHeadMap(context, heads.grids[i], map, scale, view);
  drawLegend(legend, heads.size.width, scale, withUnit(quantity(view.tint, view.normalized)));
  byId("heads-caption").textContent = captionOf(view, maps);
  byId("heads-hint").textContent = hintOf(view, maps[0]);
  showKey(maps);
}

/** What is missing; null where there is something to draw. @type {(view: View) => string | null} */
function whyNothing(view) {
  if (!view.run) return "No run yet. This page fills in by itself once a run writes its first line.";
  if (!isMeasured(view)) {
    const callbacks = "HeadAblation, ActivationPatching or GradientImportance";
    return `Nothing measured per head yet. Add ${callbacks} to the trainer's callbacks.`;
  }
  if (view.tintIndex >= 0) return null;
  const first = formatStep(view.tint.steps[0]);
  return `Not measured yet at step ${formatStep(view.step)}; the first pass is at step ${first}.`;
}

/** @type {(view: MeasuredView, maps: HeadMap[]) => Grid[]} */
function layOut({ tint }, maps) {
  const width = maps.length > 1 ? Math.floor((heads.size.width - GAP) / 2) : heads.size.width;
  const top = maps.length > 1 || maps[0].difference ? 50 : 34;
  const [rows, columns] = [tint.rows.length, tint.columns.length];
  const grid = gridAt({ rows, columns, left: LEFT, top, width, most: 60 });
  return maps.map((_, i) => {
    const shift = i * (width + GAP);
    return { ...grid, left: grid.left + shift, right: grid.right + shift };
  });
}

/** @type {(context: Context, grid: Grid, map: HeadMap, scale: Scale, view: MeasuredView) => void} */
function drawHeadMap(context, grid, map, scale, view) {
  if (grid.top > 34) {
    const style = font(12, palette.sans, 600);
    const name = clipped(context, map.name, grid.right - grid.left, style);
    write(context, name, grid.left, 7, { colour: palette.text, style });
  }
  const { rows, columns, dims } = map.series;
  drawAxes(context, grid, rows, columns, titleCase(dims[1] ?? "whole layer"));
  drawCells(context, grid, scale, (row, column) => lookOf(map, row * grid.columns + column));
  for (const [i, place] of view.picks.entries()) {
    const cell = gridCell(map.series.cellOf(place), grid);
    drawFrame(context, grid, cell, palette.categories[i]);
  }
  if (document.activeElement === heads.canvas) drawFrame(context, grid, heads.at, palette.text, 1);
}

/** @type {(cell: number, grid: Grid) => Cell} */
function gridCell(cell, grid) {
  return [Math.floor(cell / grid.columns), cell % grid.columns];
}

/** @type {(view: MeasuredView, maps: HeadMap[]) => string} */
function captionOf({ tint, tintIndex }, maps) {
  const { cost } = tint.points[tintIndex];
  const price = cost === null || cost >= 1 ? "" : `, at ${Math.round(cost * 100)}% of an exact sweep's cost`;
  const own = `${seriesTitle(tint)}, step ${formatStep(tint.steps[tintIndex])}${price}`;
  return maps.length > 1 ? `${own}, and step ${formatStep(maps[1].series.steps[maps[1].index])}` : own;
}

/**
 * What the dots say, and how many of them chance alone would give.
 * @type {(view: MeasuredView, map: HeadMap) => string}
 */
function hintOf({ series, index, tint, normalized }, map) {
  if (!series.points[index]?.half) {
    return "No error bars in this series. Click picks a head, Shift+click compares.";
  }
  const { cells } = series;
  const excluding = countCells(cells, (cell) =>
    map.difference ? map.marked(cell) : series.excludesZero(index, cell),
  );
  const chance = `about ${Math.round(cells * 0.05)} would by chance`;
  const interval = `95% interval excludes 0: ${excluding} of ${cells}; ${chance}.`;
  const known = normalized ? " Intervals take the clean and corrupted averages as known." : "";
  const use = "Click picks, Shift+click compares.";
  if (map.difference) return `• ${interval}${known} ${use}`;
  const found = countCells(tint.cells, map.marked);
  return `• ${found} of ${cells} stand out at a false discovery rate of 5%. ${interval}${known} ${use}`;
}

/** What a hollow dot, a hatched cell and a cross say, where there are such. @type {(maps: HeadMap[]) => void} */
function showKey(maps) {
  /** @type {(is: (map: HeadMap, cell: number) => boolean) => number} */
  const count = (is) =>
    maps.reduce((sum, map) => sum + countCells(map.series.cells, (cell) => is(map, cell)), 0);
  const estimated = count((map, cell) => map.estimated(cell));
  const suspect = count((map, cell) => map.suspect(cell));
  const missing = count((map, cell) => !Number.isFinite(map.value(cell)));
  const parts = [];
  if (estimated) parts.push("○ stands out, estimated from some pairs", "● stands out, every pair run");
  if (suspect) parts.push(`▨ interval not to be trusted (${suspect})`);
  if (missing) parts.push(`× no number (${missing})`);
  const key = byId("heads-key");
  key.hidden = !parts.length;
  key.replaceChildren(
    ...parts.map((text) => Object.assign(document.createElement("span"), { textContent: text })),
  );
}

/** @type {(cells: number, is: (cell: number) => boolean) => number} */
function countCells(cells, is) {
  let count = 0;
  for (let cell = 0; cell < cells; cell++) count += Number(is(cell));
  return count;
}

/** One line per thing that is known of a head at this step. @type {(view: View, place: Place) => string[]} */
export function describeHead(view, place) {
  if (!isMeasured(view)) return [];
  const { series, index, normalized, other, otherSeries, otherIndex } = view;
  const cell = series.cellOf(place);
  const lines = [series.nameOf(place)];
  if (index >= 0) {
    lines.push(`${withUnit(quantity(series, normalized))}: ${formatEffect(series, index, cell, normalized)}`);
    lines.push(...estimateLines(series, index, cell));
  }
  if (other && otherSeries && otherIndex >= 0) {
    lines.push(`${other.name}: ${formatEffect(otherSeries, otherIndex, cell, normalized)}`);
  }
  return series.isOfHeads ? [...lines, ...scoreLines(view, place)] : lines;
}

/** The scores of a head. @type {(view: MeasuredView, place: Place) => string[]} */
function scoreLines({ run, series, step }, place) {
  const scores = run
    .headSeries()
    .filter((one) => one.isScore && one !== series && one.dims[1] === series.dims[1]);
  return scores.flatMap((score) => {
    const [index, cell] = [indexAt(score.steps, step), score.cellOf(place)];
    if (index < 0 || cell < 0) return [];
    return [`${titleCase(score.metric)}: ${formatNumber(score.value(index, cell, false))}`];
  });
}

/** The layer and head of a cell of the map. @type {(cell: Cell) => Place} */
function placeAt([row, column]) {
  const { tint } = heads.view;
  return tint ? [tint.rows[row], tint.columns[column]] : [row, column];
}

listen(heads.canvas, () => heads.grids, {
  choose: (cell, compare) => {
    heads.at = cell;
    pick(placeAt(cell), compare);
  },
  hover: (cell, event) => {
    if (cell) showTip(event, describeHead(heads.view, placeAt(cell)));
    else hideTip();
  },
  cursor: () => heads.at,
  move: (cell, only) => {
    heads.at = cell;
    reach(placeAt(cell), describeHead(heads.view, placeAt(cell)), only);
  },
});

/**
 * A map's cursor is on a head: say what it is, and pick it unless only the cursor is to move.
 * @type {(place: Place, lines: string[], only: boolean) => void}
 */
export function reach(place, lines, only) {
  announce(lines.join(", "));
  if (only) refresh();
  else pick(place, false);
}

/** @type {() => Row[]} */
function sheet() {
  const { view } = heads;
  if (!isMeasured(view)) return [];
  const maps = headMaps(view);
  const shown = maps[0].difference ? "difference" : quantity(view.tint, view.normalized).name;
  const header = [
    "run",
    "step",
    "series",
    "layer",
    unitColumn(view.tint),
    shown,
    "interval_95_half",
    "marked",
    "estimated",
    "suspect",
  ];
  return [header, ...maps.flatMap(mapRows)];
}

/** @type {(map: HeadMap) => Row[]} */
function mapRows(map) {
  const { series, index } = map;
  return Array.from({ length: series.cells }, (_, cell) => {
    const flags = [map.marked(cell), map.estimated(cell), map.suspect(cell)].map(Number);
    const numbers = [numberCell(map.value(cell)), map.half(cell), ...flags];
    return [map.name, series.steps[index], series.label, ...placeColumns(series, cell), ...numbers];
  });
}

/** What the second column of a place is called in a table. @type {(series: {dims: string[]}) => string} */
export function unitColumn({ dims }) {
  return dims[1] ?? "head";
}

/**
 * Layer and head of a value in a table; no head where a row is a whole layer.
 * @type {(series: {dims: string[], placeOf: (cell: number) => Place}, cell: number) => [number,
 *   number | string]}
 */
export function placeColumns(series, cell) {
  const [layer, unit] = series.placeOf(cell);
  return [layer, series.dims.length > 1 ? unit : ""];
}
