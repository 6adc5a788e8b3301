"use strict";
// Axes of a line chart: ticks at round numbers, a linear or logarithmic x, lines and bands.

/** About `count` round numbers that cover [low, high]. */
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/** Round steps for a logarithmic axis: 0 and 1, 2, 5 times powers of ten. */
function logTicks(low, high) {
  const all = [0];
  for (let power = 1; power <= high; power *= 10) all.push(power);
  return all.filter((step) => step >= low && step <= high);
}

/** From steps to pixels: {at(step), step(pixel), ticks}. */
function stepAxis(low, high, left, right, logarithmic) {
  const turn = logarithmic ? Math.log1p : (step) => step;
  const back = logarithmic ? Math.expm1 : (place) => place;
  const [from, to] = [turn(low), turn(high === low ? low + 1 : high)];
  return {
    low, high, left, right,
    at: (step) => left + ((turn(step) - from) / (to - from)) * (right - left),
    step: (pixel) => back(from + ((pixel - left) / (right - left)) * (to - from)),
    ticks: logarithmic ? logTicks(low, high) : ticks(low, high, Math.max(2, Math.floor((right - left) / 90))),
  };
}

/** From values to pixels between top and bottom. */
function valueAxis(low, high, top, bottom) {
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  const [from, to] = [low - margin, high + margin];
  const at = (value) => bottom - ((value - from) / (to - from)) * (bottom - top);
  return { top, bottom, at, ticks: ticks(from, to, Math.max(2, Math.floor((bottom - top) / 42))) };
}

/** Grid lines, numbers and the name of a value axis. */
function drawValueAxis(context, x, y, name) {
  context.lineWidth = 1;
  for (const value of y.ticks) {
    const pixel = Math.round(y.at(value)) + 0.5;
    context.strokeStyle = value === 0 ? palette.strong : palette.line;
    line(context, x.left, pixel, x.right, pixel);
    write(context, formatTick(value), x.left - 7, pixel, { align: "right" });
  }
  write(context, name, 0, y.top - 12, { style: font(11, palette.sans, 600) });
}

/** A tick's number, without the digits that rounding left over. */
function formatTick(value) {
  return String(Number(value.toPrecision(6))).replace("-", "−");
}

function drawStepAxis(context, x, bottom) {
  for (const step of x.ticks) {
    const pixel = Math.round(x.at(step)) + 0.5;
    context.strokeStyle = palette.strong;
    line(context, pixel, bottom, pixel, bottom + 4);
    write(context, formatStep(step), pixel, bottom + 13, { align: "center" });
  }
  write(context, "Optimizer step", x.right, bottom + 29, { align: "right", style: font(11, palette.sans, 600) });
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

/** A line through values; what is no number breaks it. `every` leaves points out. */
function drawLine(context, x, y, steps, value, every = 1) {
  context.beginPath();
  let down = false;
  for (let i = 0; i < steps.length; i += every) {
    const shown = value(i);
    if (Number.isFinite(shown)) {
      if (down) context.lineTo(x.at(steps[i]), y.at(shown)); else context.moveTo(x.at(steps[i]), y.at(shown));
    }
    down = Number.isFinite(shown);
  }
  context.stroke();
}

/** The area between value − half and value + half. */
function drawBand(context, x, y, steps, value, half) {
  const known = steps.map((_, i) => i).filter((i) => Number.isFinite(value(i)) && Number.isFinite(half(i)));
  context.beginPath();
  for (const i of known) context.lineTo(x.at(steps[i]), y.at(value(i) + half(i)));
  for (const i of known.reverse()) context.lineTo(x.at(steps[i]), y.at(value(i) - half(i)));
  context.closePath();
  context.fill();
}

/** Move labels apart so that none covers another; `places` are their wished heights. */
function spread(places, distance, low, high) {
  const order = places.map((place, i) => ({ place, i })).sort((a, b) => a.place - b.place);
  let last = low - distance;
  for (const item of order) last = item.place = Math.max(item.place, last + distance);
  const excess = Math.max(0, last - high);
  const result = [];
  for (const item of order) result[item.i] = item.place - excess;
  return result;
}
