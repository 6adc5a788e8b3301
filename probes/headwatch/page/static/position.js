// @ts-check
// Effects by position: tokens down (clean and corrupted side by side, the ones that differ marked), layers or heads
// across.

import { clipped, drawBar, fit, font, write } from "./canvas.js";
import { announce, hideTip, makeCard, showTip } from "./card.js";
import { palette } from "./colours.js";
import { byId, canvasesIn } from "./dom.js";
import {
  estimateLines,
  formatEffect,
  formatStep,
  headName,
  numberCell,
  quantity,
  withUnit,
} from "./format.js";
import { drawCells, drawFrame, gridAt, labelStride, listen } from "./grid.js";
import { fittingPairs, positionColumns, shownPositionSeries } from "./position_columns.js";
import { refresh } from "./redraw.js";
import { pick, state } from "./state.js";
import { indexAt } from "./steps.js";
import { showToken } from "./tokens.js";

/** @import { Series } from "./series.js" */
/** @import { Cell, Context, Grid, Pair, PositionColumns, Row, Scale, ShownPosition, View } from "./types.js" */

const TOP = 40;
const TOKENS_LEFT = 32;
const card = makeCard("position");

export const position = {
  ...card,
  canvas: canvasesIn(card.stage)[0],
  grids: /** @type {Grid[]} */ ([]),
  at: /** @type {Cell} */ ([0, 0]),
  shown: /** @type {ShownPosition | null} */ (null),
  draw,
  sheet,
  pictures: () => [position.canvas],
};

/** @type {(view: View) => void} */
function draw(view) {
  const series = shownPositionSeries(view.run);
  const index = series && view.step !== null ? indexAt(series.steps, view.step) : -1;
  position.say(whyNothing(series, index));
  if (!view.run || !series || index < 0 || !position.size.width) return;
  const pairs = fittingPairs(view.run, series);
  const pair = pairs[Math.min(state.pair, pairs.length - 1)] ?? null;
  const normalized = state.colour === "normalized" && series.canNormalize;
  const focus = document.activeElement === position.canvas ? position.at : null;
  const chosen = [state.pair, state.positionView, state.scale, normalized, view.picks.join(";"), focus];
  const what = [series.key, series.steps[index], view.run.name, view.run.version];
  const key = [...what, ...chosen, palette.theme, position.size.width].join("|");
  if (key === position.key) return;
  position.key = key;
  const across = positionColumns(series, view, index);
  position.shown = { series, index, pair, normalized, across };
  drawPosition(position.shown, focus);
}

/** @type {(series: Series | null, index: number) => string | null} */
function whyNothing(series, index) {
  if (!series) {
    const wish = "Pass by_position=True to ActivationPatching to see which token matters where.";
    return `No effects by position in this run. ${wish}`;
  }
  if (index >= 0) return null;
  return `Not measured by position yet; the first pass is at step ${formatStep(series.steps[0])}.`;
}

/** @type {(shown: ShownPosition, focus: Cell | null) => void} */
function drawPosition(shown, focus) {
  const { series, index, pair, normalized, across } = shown;
  const scale = series.scale(normalized, state.scale === "step" ? index : null);
  const label = labelWidth(across);
  const grid = gridOf(shown, label);
  position.grids = [grid];
  const context = fit(position.canvas, Math.max(position.size.width, grid.right + 1), grid.bottom + 44);
  drawHeader(context, grid, across, pair, label);
  for (let row = 0; row < grid.rows; row++) drawPairTokens(context, grid, pair, row, label);
  drawCells(context, grid, scale, (row, column) => {
    const cell = across.cell(row, column);
    const [estimated, suspect] = [series.estimated(index, cell), series.suspect(index, cell)];
    return {
      value: series.value(index, cell, normalized),
      marked: series.marked(index, cell),
      estimated,
      suspect,
    };
  });
  if (focus) drawFrame(context, grid, focus, palette.text, 1);
  drawPositionLegend(context, grid, scale, withUnit(quantity(series, normalized)));
  explain(shown);
}

/** Room for one prompt's tokens. @type {(across: PositionColumns) => number} */
function labelWidth({ labels }) {
  return Math.min(104, Math.max(56, (position.size.width - 30 - labels.length * 16) / 2));
}

/** @type {(shown: ShownPosition, label: number) => Grid} */
function gridOf({ series, pair, across }, label) {
  const [rows, columns] = [series.shape.at(-1) ?? 0, across.labels.length];
  const left = pair ? Math.round(34 + 2 * label) : 34;
  const { width } = position.size;
  const wished = gridAt({
    rows,
    columns,
    left,
    top: TOP,
    width,
    most: 26,
    tallest: Number.POSITIVE_INFINITY,
  });
  const cell = Math.max(wished.cell, 12);
  return { ...wished, cell, right: left + cell * columns, bottom: TOP + cell * rows };
}

/**
 * @type {(context: Context, grid: Grid, across: PositionColumns, pair: Pair | null,
 *   label: number) => void}
 */
function drawHeader(context, grid, { name, labels }, pair, label) {
  const strong = { style: font(11, palette.sans, 600) };
  if (pair) write(context, "Clean", TOKENS_LEFT, 31, strong);
  if (pair) write(context, "Corrupted", TOKENS_LEFT + label, 31, strong);
  write(context, name, grid.left, 12, strong);
  const every = labelStride(grid, labels);
  for (let column = 0; column < grid.columns; column += every) {
    write(context, labels[column], grid.left + (column + 0.5) * grid.cell, 31, { align: "center" });
  }
}

/**
 * Both prompts down the left; a token that differs stands on a tint, the place where the metric is
 * read has an arrow.
 * @type {(context: Context, grid: Grid, pair: Pair | null, row: number, label: number) => void}
 */
function drawPairTokens(context, grid, pair, row, label) {
  const y = grid.top + (row + 0.5) * grid.cell;
  write(context, row, 24, y, { align: "right" });
  if (!pair) return;
  const differs = pair.clean[row] !== pair.corrupted[row];
  if (differs) {
    context.fillStyle = palette.soft;
    context.fillRect(28, y - grid.cell / 2, grid.left - 34, grid.cell - 1);
  }
  const style = font(11, palette.mono, differs ? 700 : 400);
  const colour = differs ? palette.accent : palette.muted;
  for (const [i, tokens] of [pair.clean, pair.corrupted].entries()) {
    const text = clipped(context, showToken(tokens[row]), label - 10, style);
    write(context, text, TOKENS_LEFT + i * label, y, { colour, style });
  }
  if (row === pair.position) write(context, "▸", 0, y, { colour: palette.accent });
}

/** @type {(context: Context, grid: Grid, scale: Scale, title: string) => void} */
function drawPositionLegend(context, grid, scale, title) {
  const { width } = position.size;
  const bar = Math.floor(Math.min(300, Math.max(180, width - grid.left)));
  const left = Math.max(0, Math.min(grid.left, width - bar));
  context.save();
  context.translate(left, grid.bottom + 12);
  drawBar(context, bar, scale);
  context.restore();
  if (left <= 120) return;
  const text = clipped(context, title, left - 12, font(11));
  write(context, text, left - 10, grid.bottom + 18, { align: "right" });
}

/** @type {(shown: ShownPosition) => void} */
function explain({ series, index, pair }) {
  const { steps, total, points } = series;
  const thinned = total > steps.length ? `, ${steps.length} of ${total} passes kept` : "";
  const marks = pair ? "; tinted tokens differ, ▸ is where the metric is read" : "";
  byId("position-caption").textContent =
    `Step ${formatStep(steps[index])}, mean over ${points[index].n} pairs${thinned}${marks}`;
}

/** @type {(shown: ShownPosition, cell: Cell) => string[]} */
function describe({ series, index, pair, normalized, across }, [row, column]) {
  const cell = across.cell(row, column);
  const head = across.head(row, column);
  const name = head ? headName(head) : `Layer ${across.labels[column]}`;
  const tokens = pair ? [`${showToken(pair.clean[row])} / ${showToken(pair.corrupted[row])}`] : [];
  const effect = formatEffect(series, index, cell, normalized);
  const shown = `${withUnit(quantity(series, normalized))}: ${effect}`;
  return [`${name}, position ${row}`, ...tokens, shown, ...estimateLines(series, index, cell)];
}

listen(position.canvas, () => position.grids, {
  choose: (cell, compare) => {
    position.at = cell;
    const head = position.shown?.across.head(cell[0], cell[1]);
    if (head) pick(head, compare);
    else refresh();
  },
  hover: (cell, event) => {
    if (cell && position.shown) showTip(event, describe(position.shown, cell));
    else hideTip();
  },
  cursor: () => position.at,
  move: (cell) => {
    position.at = cell;
    if (position.shown) announce(describe(position.shown, cell).join(", "));
    refresh();
  },
});

/** @type {() => Row[]} */
function sheet() {
  if (!position.shown) return [];
  const { series, index, pair, normalized, across } = position.shown;
  const places = ["position", "clean_token", "corrupted_token", "layer", "head"];
  const header = ["series", "step", ...places, quantity(series, normalized).name, "interval_95_half"];
  const rows = Array.from({ length: series.shape.at(-1) ?? 0 }, (_, row) =>
    across.labels.map((label, column) => {
      const cell = across.cell(row, column);
      const tokens = [pair?.clean[row] ?? "", pair?.corrupted[row] ?? ""];
      const numbers = [
        numberCell(series.value(index, cell, normalized)),
        series.half(index, cell, normalized),
      ];
      const place = across.head(row, column) ?? [label, ""];
      return [series.label, series.steps[index], row, ...tokens, ...place, ...numbers];
    }),
  );
  return [header, ...rows.flat()];
}
