// @ts-check
// Axes of a line chart: ticks at round numbers, a linear or logarithmic x, lines and bands.

import { font, line, write } from "./canvas.js";
import { palette } from "./colours.js";
import { formatStep } from "./format.js";

/** @import { Context, StepAxis, ValueAxis } from "./types.js" */

/**
 * About `count` round numbers that cover [low, high].
 * @type {(low: number, high: number, count: number) => number[]}
 */
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5].map((factor) => factor * power).find((size) => span / size <= count) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/**
 * Round steps for a logarithmic axis: 0 and powers of ten.
 * @type {(low: number, high: number) => number[]}
 */
function logTicks(low, high) {
  const all = [0];
  for (let power = 1; power <= high; power *= 10) all.push(power);
  return all.filter((step) => step >= low && step <= high);
}

/** Round whole steps. @type {(low: number, high: number, count: number) => number[]} */
function stepTicks(low, high, count) {
  return ticks(low, high, Math.max(1, Math.min(count, high - low)));
}

/**
 * From steps to pixels and back.
 * @type {(low: number, high: number, left: number, right: number, logarithmic: boolean) => StepAxis}
 */
export function stepAxis(low, high, left, right, logarithmic) {
  const start = Math.min(0, low); // the logarithm's, which a pass before training, at -1, moves
  const turn = logarithmic ? (/** @type {number} */ step) => Math.log1p(step - start) : Number;
  const back = logarithmic ? (/** @type {number} */ turned) => Math.expm1(turned) + start : Number;
  const [from, to] = [turn(low), turn(high === low ? low + 1 : high)];
  const most = Math.max(2, Math.floor((right - left) / 90));
  return {
    low,
    high,
    left,
    right,
    at: (step) => left + ((turn(step) - from) / (to - from)) * (right - left),
    step: (pixel) => back(from + ((pixel - left) / (right - left)) * (to - from)),
    ticks: logarithmic ? logTicks(low, high) : stepTicks(Math.max(0, low), high, most),
  };
}

/**
 * From values to pixels between top and bottom.
 * @type {(low: number, high: number, top: number, bottom: number) => ValueAxis}
 */
export function valueAxis(low, high, top, bottom) {
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  const [from, to] = [low - margin, high + margin];
  const most = Math.max(2, Math.floor((bottom - top) / 42));
  return {
    top,
    bottom,
    at: (value) => bottom - ((value - from) / (to - from)) * (bottom - top),
    ticks: ticks(from, to, most),
  };
}

/**
 * Grid lines, numbers and the name of a value axis.
 * @type {(context: Context, x: StepAxis, y: ValueAxis, name: string) => void}
 */
export function drawValueAxis(context, x, y, name) {
  context.lineWidth = 1;
  for (const value of y.ticks) {
    const pixel = Math.round(y.at(value)) + 0.5;
    context.strokeStyle = value === 0 ? palette.strong : palette.line;
    line(context, x.left, pixel, x.right, pixel);
    write(context, formatTick(value), x.left - 7, pixel, { align: "right" });
  }
  write(context, name, 0, y.top - 12, { style: font(11, palette.sans, 600) });
}

/** A tick's number, without the digits that rounding left over. @type {(value: number) => string} */
export function formatTick(value) {
  return String(Number(value.toPrecision(6))).replace("-", "−");
}

/** @type {(context: Context, x: StepAxis, bottom: number) => void} */
export function drawStepAxis(context, x, bottom) {
  for (const step of x.ticks) {
    const pixel = Math.round(x.at(step)) + 0.5;
    context.strokeStyle = palette.strong;
    line(context, pixel, bottom, pixel, bottom + 4);
    write(context, formatStep(step), pixel, bottom + 13, { align: "center" });
  }
  const style = font(11, palette.sans, 600);
  write(context, "Optimizer step", x.right, bottom + 29, { align: "right", style });
}

/**
 * A line through values; what is no number breaks it. `every` leaves points out.
 * @type {(context: Context, x: StepAxis, y: ValueAxis, steps: number[], value: (i: number) => number,
 *   every?: number) => void}
 */
export function drawLine(context, x, y, steps, value, every = 1) {
  context.beginPath();
  let down = false;
  for (let i = 0; i < steps.length; i += every) {
    const shown = value(i);
    if (Number.isFinite(shown)) {
      if (down) context.lineTo(x.at(steps[i]), y.at(shown));
      else context.moveTo(x.at(steps[i]), y.at(shown));
    }
    down = Number.isFinite(shown);
  }
  context.stroke();
}

/**
 * The area between value − half and value + half.
 * @type {(context: Context, x: StepAxis, y: ValueAxis, steps: number[], value: (i: number) => number,
 *   half: (i: number) => number) => void}
 */
export function drawBand(context, x, y, steps, value, half) {
  const known = [...steps.keys()].filter((i) => Number.isFinite(value(i)) && Number.isFinite(half(i)));
  context.beginPath();
  for (const i of known) context.lineTo(x.at(steps[i]), y.at(value(i) + half(i)));
  for (const i of known.reverse()) context.lineTo(x.at(steps[i]), y.at(value(i) - half(i)));
  context.closePath();
  context.fill();
}

/**
 * Move labels apart so that none covers another; `places` are their wished heights.
 * @type {(places: number[], distance: number, low: number, high: number) => number[]}
 */
export function spread(places, distance, low, high) {
  const order = places.map((place, i) => ({ place, i })).sort((a, b) => a.place - b.place);
  let last = low - distance;
  for (const item of order) {
    last = Math.max(item.place, last + distance);
    item.place = last;
  }
  const excess = Math.max(0, last - high);
  /** @type {number[]} */
  const result = [];
  for (const item of order) result[item.i] = item.place - excess;
  return result;
}
