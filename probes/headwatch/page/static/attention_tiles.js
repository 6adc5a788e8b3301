// @ts-check
// How one head's attention is drawn: a map of query by key, or lines between the tokens.

import { clipped, fit, font, line, write } from "./canvas.js";
import { palette } from "./colours.js";
import { strongestKey, strongestQuery, weightImage, weightOf } from "./weights.js";

/** @import { Cell, Context, Tile } from "./types.js" */

/**
 * Draw a tile as a map; `cursor` is the query and key that are pointed at.
 * @type {(tile: Tile, cursor: Cell | null) => void}
 */
export function drawAttentionMap(tile, cursor) {
  const { label, cell, top, texts } = tile.shape;
  const size = cell * texts.length;
  const context = fit(tile.canvas, label + size + 1, top + size + 1);
  context.imageSmoothingEnabled = false;
  context.drawImage(weightImage([tile.weights], texts.length, 1, texts.length), label, top, size, size);
  if (cell > 8) drawSeparators(context, tile);
  for (const i of texts.keys()) drawTokenLabels(context, tile, i, cursor ?? [-1, -1]);
  tile.find = ([x, y]) =>
    inTriangle(Math.floor((y - top) / cell), Math.floor((x - label) / cell), texts.length);
  if (cursor) outlineCell(context, tile, cursor);
}

/** @type {(query: number, key: number, tokens: number) => Cell | null} */
function inTriangle(query, key, tokens) {
  return query >= 0 && key >= 0 && query < tokens && key <= query ? [query, key] : null;
}

/**
 * Thin lines between cells, and the staircase that no attention crosses.
 * @type {(context: Context, tile: Tile) => void}
 */
function drawSeparators(context, { shape: { label: left, top, cell, texts } }) {
  const tokens = texts.length;
  context.strokeStyle = palette.card;
  context.lineWidth = 1;
  for (let i = 1; i < tokens; i++) {
    line(context, left, top + i * cell - 0.5, left + i * cell, top + i * cell - 0.5);
    line(context, left + i * cell - 0.5, top + i * cell, left + i * cell - 0.5, top + tokens * cell);
  }
  context.strokeStyle = palette.line;
  context.beginPath();
  context.moveTo(left - 0.5, top);
  for (let i = 0; i < tokens; i++) {
    context.lineTo(left + (i + 1) * cell + 0.5, top + i * cell + 0.5);
    context.lineTo(left + (i + 1) * cell + 0.5, top + (i + 1) * cell + 0.5);
  }
  context.lineTo(left - 0.5, top + tokens * cell + 0.5);
  context.closePath();
  context.stroke();
}

/**
 * A token as query on the left and as key on top; the ones under the cursor are strong, small cells
 * name only those.
 * @type {(context: Context, tile: Tile, i: number, cursor: Cell) => void}
 */
function drawTokenLabels(context, { shape: { label, cell, top, texts } }, i, [query, key]) {
  const size = Math.min(11, Math.max(9, cell - 2));
  const middle = (i + 0.5) * cell;
  if (cell >= 9 || i === query) {
    const style = tokenStyle(i === query, size);
    const text = clipped(context, texts[i], label - 8, style.style);
    write(context, text, label - 6, top + middle, { align: "right", ...style });
  }
  if (cell < 9 && i !== key) return;
  const style = tokenStyle(i === key, size);
  context.save();
  context.translate(label + middle, top - 5);
  context.rotate(-Math.PI / 2);
  write(context, clipped(context, texts[i], top - 8, style.style), 0, 0, style);
  context.restore();
}

/** @type {(strong: boolean, size?: number) => {colour: string, style: string}} */
function tokenStyle(strong, size = 11) {
  return {
    colour: strong ? palette.text : palette.muted,
    style: font(size, palette.mono, strong ? 700 : 400),
  };
}

/** @type {(context: Context, tile: Tile, cursor: Cell) => void} */
function outlineCell(context, { shape: { label, cell, top } }, [query, key]) {
  context.strokeStyle = palette.categories[0];
  context.lineWidth = 1.5;
  context.strokeRect(label + key * cell - 0.5, top + query * cell - 0.5, cell, cell);
}

/** Draw a tile as lines from queries to keys. @type {(tile: Tile, cursor: Cell | null) => void} */
export function drawAttentionLines(tile, cursor) {
  const { label, cell, top, texts, width } = tile.shape;
  const row = Math.max(cell, 12);
  const wide = Math.min(width, 420);
  const context = fit(tile.canvas, wide, top + row * texts.length + 1);
  const [left, right] = [label, wide - label];
  write(context, "query", left - 6, top - 10, { align: "right" });
  write(context, "key", right + 6, top - 10);
  /** @type {(i: number) => number} */
  const height = (i) => top + (i + 0.5) * row;
  drawCurves(context, tile, cursor, height, left, right);
  const [query, key] = cursor ?? [-1, -1];
  for (const [i, text] of texts.entries()) {
    const [from, to] = [tokenStyle(i === query), tokenStyle(i === key)];
    const [own, other] = [from, to].map(({ style }) => clipped(context, text, label - 8, style));
    write(context, own, left - 6, height(i), { align: "right", ...from });
    write(context, other, right + 6, height(i), to);
  }
  tile.find = ([x, y]) => {
    const at = Math.floor((y - top) / row);
    if (at < 0 || at >= texts.length) return null;
    if (x < wide / 2) return [at, strongestKey(tile.weights, at)];
    return [strongestQuery(tile.weights, at, texts.length), at];
  };
}

/**
 * A curve per weight above 0.03, as opaque as it is strong; with a cursor only those of its query.
 * @type {(context: Context, tile: Tile, cursor: Cell | null, height: (i: number) => number,
 *   left: number, right: number) => void}
 */
function drawCurves(context, tile, cursor, height, left, right) {
  const middle = (left + right) / 2;
  context.strokeStyle = tile.colour;
  for (let from = 0; from < tile.shape.texts.length; from++) {
    for (let to = 0; to <= from; to++) {
      const weight = weightOf(tile.weights, from, to);
      if (!(weight >= 0.03)) continue;
      const chosen = cursor?.[0] === from ? 0.15 + weight * 0.85 : weight * 0.08;
      context.globalAlpha = cursor ? chosen : weight * 0.85;
      context.lineWidth = 0.8 + 2.6 * weight;
      context.beginPath();
      context.moveTo(left, height(from));
      context.bezierCurveTo(middle, height(from), middle, height(to), right, height(to));
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}
