// @ts-check
// The attention maps of all heads at once, in the order of the map of heads.

import { fit, line } from "./canvas.js";
import { hideTip, makeCard, showTip } from "./card.js";
import { palette } from "./colours.js";
import { byId, canvasesIn } from "./dom.js";
import { formatStep, headName } from "./format.js";
import { shownFrame } from "./frames.js";
import { drawAxes, drawFrame, gridAt, listen } from "./grid.js";
import { describeHead, reach } from "./heads.js";
import { headWeights } from "./runs.js";
import { pick } from "./state.js";
import { showPrompt } from "./tokens.js";
import { lookUp } from "./view.js";
import { weightImage } from "./weights.js";

/** @import { Cell, Context, Grid, Place, ReadyFrame, ShownFrame, View } from "./types.js" */

const LARGEST = 40;
const card = makeCard("thumbnails");

export const thumbnails = {
  ...card,
  canvas: canvasesIn(card.stage)[0],
  grids: /** @type {Grid[]} */ ([]),
  at: /** @type {Cell} */ ([0, 0]),
  view: lookUp(),
  draw,
  pictures: () => [thumbnails.canvas],
};

/** @type {(view: View) => void} */
function draw(view) {
  thumbnails.view = view;
  const shown = shownFrame(view);
  if (shown.waiting) return;
  thumbnails.say(shown.why ?? null);
  if (!shown.frame || !thumbnails.size.width) return;
  const focus = document.activeElement === thumbnails.canvas ? thumbnails.at : null;
  const { label, step } = shown.frame;
  const what = [label, step, shown.prompt, view.run?.name];
  const key = [...what, palette.theme, thumbnails.size.width, view.picks.join(";"), focus].join("|");
  if (key === thumbnails.key) return;
  thumbnails.key = key;
  drawThumbnails(view, shown, shown.frame, focus);
  byId("thumbnails-caption").textContent = `“${showPrompt(shown.tokens, 34)}”, step ${formatStep(step)}`;
}

/** @type {(view: View, shown: ShownFrame, frame: ReadyFrame, focus: Cell | null) => void} */
function drawThumbnails(view, { prompt, tokens }, frame, focus) {
  const [rows, columns] = frame.heads;
  const grid = gridAt({ rows, columns, left: 36, top: 34, width: thumbnails.size.width, most: 60 });
  thumbnails.grids = [grid];
  const context = fit(thumbnails.canvas, thumbnails.size.width, grid.bottom + 3);
  drawAxes(context, grid, [...Array(rows).keys()], [...Array(columns).keys()], "Head");
  const maps = Array.from({ length: rows * columns }, (_, i) =>
    headWeights(frame, prompt, [Math.floor(i / columns), i % columns]),
  );
  const side = Math.min(tokens.length, LARGEST);
  const image = weightImage(maps, tokens.length, columns, side);
  context.imageSmoothingEnabled = side > grid.cell;
  context.drawImage(image, grid.left, grid.top, grid.right - grid.left, grid.bottom - grid.top);
  drawLines(context, grid);
  for (const [i, [layer, head]] of view.picks.entries()) {
    if (layer < rows && head < columns) drawFrame(context, grid, [layer, head], palette.categories[i]);
  }
  if (focus) drawFrame(context, grid, focus, palette.text, 1);
}

/** @type {(context: Context, grid: Grid) => void} */
function drawLines(context, grid) {
  context.strokeStyle = palette.line;
  context.lineWidth = 1;
  for (let row = 0; row <= grid.rows; row++) {
    const y = grid.top + row * grid.cell - 0.5;
    line(context, grid.left, y, grid.right, y);
  }
  for (let column = 0; column <= grid.columns; column++) {
    const x = grid.left + column * grid.cell - 0.5;
    line(context, x, grid.top, x, grid.bottom);
  }
}

/**
 * What is known of a head; its name alone where the probe that is shown leaves it out.
 * @type {(head: Place) => string[]}
 */
function describe(head) {
  const { series } = thumbnails.view;
  const there = series?.isOfHeads && series.cellOf(head) >= 0;
  return there ? describeHead(thumbnails.view, head) : [headName(head)];
}

listen(thumbnails.canvas, () => thumbnails.grids, {
  choose: (cell, compare) => {
    thumbnails.at = cell;
    pick(cell, compare);
  },
  hover: (cell, event) => {
    if (cell) showTip(event, describe(cell));
    else hideTip();
  },
  cursor: () => thumbnails.at,
  move: (cell, only) => {
    thumbnails.at = cell;
    reach(cell, describe(cell), only);
  },
});
