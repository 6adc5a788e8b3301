// @ts-check
// Marks on a trajectory, one a pass: filled where every pair was run, hollow where some were estimated.

import { palette } from "./colours.js";

/** @import { Series } from "./series.js" */
/** @import { Context, StepAxis, ValueAxis } from "./types.js" */

const CLOSEST = 9; // pixels between passes that can be told apart

/**
 * Marks along a head's line, where the series has estimates and the passes are far enough apart.
 * @type {(context: Context, x: StepAxis, y: ValueAxis, series: Series, cell: number, normalized: boolean,
 *   colour: string) => void}
 */
export function drawPassMarks(context, x, y, series, cell, normalized, colour) {
  const { steps, points } = series;
  const room = (x.right - x.left) / Math.max(1, steps.length - 1);
  if (room < CLOSEST || points.every(({ estimate }) => estimate === null)) return;
  for (const [i, step] of steps.entries()) {
    const height = y.at(series.value(i, cell, normalized));
    if (Number.isFinite(height))
      drawMark(context, x.at(step), height, 2.6, colour, series.estimated(i, cell));
  }
}

/** @type {(context: Context, x: number, y: number, radius: number, colour: string, hollow: boolean) => void} */
function drawMark(context, x, y, radius, colour, hollow) {
  context.fillStyle = hollow ? palette.card : colour;
  context.strokeStyle = colour;
  context.lineWidth = 1.4;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

/**
 * The mark at the step that is shown, with a halo.
 * @type {(context: Context, x: number, y: number, colour: string, hollow: boolean) => void}
 */
export function drawShownMark(context, x, y, colour, hollow) {
  drawMark(context, x, y, 5.5, palette.card, false);
  drawMark(context, x, y, 4, colour, hollow);
}
