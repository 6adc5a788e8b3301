// @ts-check
// When a head came to matter, or ceased to: the one shift of its trajectory that is more than noise, with its interval.

import { line } from "./canvas.js";
import { palette } from "./colours.js";
import { formatStep } from "./format.js";

/** @import { Series } from "./series.js" */
/** @import { Context, MeasuredView, StepAxis, ValueAxis } from "./types.js" */

const RAIL = 5; // pixels

/**
 * A band over the steps of each picked head's shift, with a rail on top and a mark at the likeliest step.
 * @type {(context: Context, view: MeasuredView, x: StepAxis, y: ValueAxis) => void}
 */
export function drawShifts(context, { series, picks }, x, y) {
  for (const [i, place] of picks.entries()) {
    const shift = series.findings.shifts.get(series.cellOf(place));
    if (!shift) continue;
    const [left, right, top] = [x.at(shift.low), x.at(shift.high), y.top + i * (RAIL + 2)];
    context.fillStyle = palette.categories[i];
    context.globalAlpha = 0.09;
    context.fillRect(left, top, right - left, y.bottom - top);
    context.globalAlpha = 0.55;
    context.fillRect(left, top, right - left, RAIL);
    context.globalAlpha = 1;
    context.strokeStyle = palette.categories[i];
    context.lineWidth = 2;
    line(context, x.at(shift.step), top - 1, x.at(shift.step), top + RAIL + 3);
  }
}

/**
 * "since step 420 ± 60": from when on a head matters more, or "until" where it matters less; nothing without a shift.
 * @type {(series: Series, cell: number) => string}
 */
export function shiftText(series, cell) {
  const shift = series.findings.shifts.get(cell);
  if (!shift) return "";
  const { step, low, high, before, after } = shift;
  const word = Math.abs(after) >= Math.abs(before) ? "since" : "until";
  return `${word} step ${formatStep(Math.round(step))} ± ${formatStep(Math.round(Math.max(high - step, step - low)))}`;
}
