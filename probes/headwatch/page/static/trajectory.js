// @ts-check
// Picked heads over training, with 95% bands, above the training loss on the same steps.
// Lines are drawn when data or picks change; a moving slider only redraws the line at its step.

import { fit, font, line, pointerOn, write } from "./canvas.js";
import { hideTip, makeCard, showTip } from "./card.js";
import { drawBand, drawLine, drawStepAxis, drawValueAxis, spread, stepAxis, valueAxis } from "./chart.js";
import { palette } from "./colours.js";
import { byId, canvasesIn, swatch } from "./dom.js";
import {
  formatEffect,
  formatNumber,
  formatStep,
  metricName,
  metricUnit,
  numberCell,
  quantity,
  withUnit,
} from "./format.js";
import { unitColumn } from "./heads.js";
import { drawPassMarks, drawShownMark } from "./pass_marks.js";
import { drawShifts, shiftText } from "./shifts.js";
import { goTo, state, unpick } from "./state.js";
import { indexAt } from "./steps.js";
import { isMeasured, lookUp } from "./view.js";

/** @import { Run } from "./runs.js" */
/** @import { Series } from "./series.js" */
/** @import { Context, MeasuredView, Place, Row, Scalar, StepAxis, ValueAxis, View } from "./types.js" */

/** @typedef {{x: StepAxis, below: Scalar, upper: ValueAxis, lower: ValueAxis}} Axes */

/**
 * A line of the chart: this run's, or the other's, dashed.
 * @typedef {{series: Series, run: Run, dashed: boolean}} Line
 */

const card = makeCard("trajectory");
const [back, front] = canvasesIn(card.root);
const picksList = byId("picks");

export const trajectory = {
  ...card,
  view: lookUp(),
  axes: /** @type {Axes | null} */ (null),
  draw,
  sheet,
  pictures: () => [back, front],
};

/** @type {(view: View) => void} */
function draw(view) {
  trajectory.view = view;
  const empty = !isMeasured(view) || !view.series.points.length;
  trajectory.say(empty ? "Trajectories appear with the first pass of a probe." : null);
  if (empty || !trajectory.size.width) return;
  const key = keyOf(view);
  if (key !== trajectory.key || !trajectory.axes) {
    trajectory.key = key;
    trajectory.axes = axesOf(view);
    drawTrajectories(view, trajectory.axes);
    listPicks(view);
  }
  drawStepLine(view, trajectory.axes);
  updatePicks(view);
}

/** @type {(view: MeasuredView) => string} */
function keyOf({ run, other, series, normalized, picks }) {
  const { width, height } = trajectory.size;
  const runs = [run.name, run.version, other?.name, other?.version];
  const chosen = [series.key, normalized, picks.join(";"), state.scalar, state.axis];
  return [width, height, palette.theme, ...runs, ...chosen].join("|");
}

/**
 * The series below: a scalar of the run, or the metric that effects are measured from.
 * @type {(view: MeasuredView) => Scalar}
 */
function lowerSeries({ run, series }) {
  const chosen = run.scalars.get(state.scalar ?? "") ?? run.scalars.get(defaultScalar(run) ?? "");
  if (chosen && state.scalar !== "baseline") return chosen;
  const unit = { name: metricName(series.metric), unit: metricUnit(series.metric) };
  const values = series.points.map((point) => point.baseline);
  return { name: `Baseline ${withUnit(unit)}`, steps: series.steps, values };
}

/** The scalar that is shown without a choice: the training loss. @type {(run: Run) => string | undefined} */
export function defaultScalar(run) {
  const names = [...run.scalars.keys()];
  const loss = names.find((name) => /^train.*loss/i.test(name)) ?? names.find((name) => /loss/i.test(name));
  return loss ?? names[0];
}

/** @type {(view: MeasuredView) => Axes} */
function axesOf(view) {
  const { width, height } = trajectory.size;
  const below = lowerSeries(view);
  const ends = [view.steps[0], view.steps.at(-1), below.steps[0], below.steps.at(-1)];
  const steps = ends.filter((step) => step !== undefined);
  const split = Math.round((height - 62) * 0.66);
  const [low, high] = rangeOf(view);
  const [least, most] = rangeOfValues(below.values);
  return {
    x: stepAxis(Math.min(...steps), Math.max(...steps), 54, width - 64, state.axis === "log"),
    below,
    upper: valueAxis(low, high, 24, split),
    lower: valueAxis(least, most, split + 40, height - 38),
  };
}

/** The values of all heads. @type {(view: MeasuredView) => [low: number, high: number]} */
function rangeOf(view) {
  const { series, normalized } = view;
  let low = series.centre(normalized);
  let high = low;
  for (const { series: shown } of linesOf(view)) {
    for (const point of shown.points) {
      const [factor, offset] = shown.factor(point, normalized);
      for (const mean of point.mean) {
        const value = mean * factor + offset;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  return [low, high];
}

/** @type {(values: (number | null)[]) => [low: number, high: number]} */
function rangeOfValues(values) {
  const known = values.flatMap((value) => (value !== null && Number.isFinite(value) ? [value] : []));
  const low = known.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const high = known.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return low > high ? [0, 1] : [low, high];
}

/** @type {(view: MeasuredView) => Line[]} */
function linesOf({ series, run, other, otherSeries }) {
  const own = { series, run, dashed: false };
  return other && otherSeries ? [own, { series: otherSeries, run: other, dashed: true }] : [own];
}

/** @type {(view: MeasuredView, axes: Axes) => void} */
function drawTrajectories(view, { x, upper, lower, below }) {
  const context = fit(back, trajectory.size.width, trajectory.size.height);
  drawValueAxis(context, x, upper, withUnit(quantity(view.series, view.normalized)));
  drawValueAxis(context, x, lower, below.name);
  drawStepAxis(context, x, lower.bottom);
  context.save();
  context.beginPath();
  context.rect(x.left, upper.top, x.right - x.left, upper.bottom - upper.top);
  context.clip();
  drawShifts(context, view, x, upper);
  drawAllHeads(context, view, x, upper);
  drawPicks(context, view, x, upper);
  context.restore();
  drawEnds(context, view, x, upper);
  context.strokeStyle = palette.text;
  context.lineWidth = 1.4;
  drawLine(context, x, lower, below.steps, (i) => below.values[i] ?? Number.NaN);
  drawOtherBelow(context, view, x, lower, below);
}

/**
 * Every head as a faint line, with fewer points than pixels.
 * @type {(context: Context, view: MeasuredView, x: StepAxis, y: ValueAxis) => void}
 */
function drawAllHeads(context, { series, normalized }, x, y) {
  const every = Math.max(1, Math.floor(series.steps.length / 240));
  context.strokeStyle = palette.strong;
  context.lineWidth = 1;
  context.globalAlpha = 0.3;
  const most = Math.min(series.cells, 600);
  for (let cell = 0; cell < most; cell++) {
    drawLine(context, x, y, series.steps, (i) => series.value(i, cell, normalized), every);
  }
  context.globalAlpha = 1;
}

/**
 * The picked heads with their bands.
 * @type {(context: Context, view: MeasuredView, x: StepAxis, y: ValueAxis) => void}
 */
function drawPicks(context, view, x, y) {
  for (const shown of linesOf(view)) {
    for (const [i, place] of view.picks.entries()) {
      drawPick(context, shown, place, view.normalized, palette.categories[i], x, y);
    }
  }
}

/**
 * The picked heads' names at the ends of their lines.
 * @type {(context: Context, view: MeasuredView, x: StepAxis, y: ValueAxis) => void}
 */
function drawEnds(context, { series, normalized, picks }, x, y) {
  const last = series.points.length - 1;
  const ends = picks.map((place, i) => ({
    name: series.nameOf(place),
    colour: palette.categories[i],
    height: y.at(series.value(last, series.cellOf(place), normalized)),
  }));
  drawLabels(
    context,
    x,
    y,
    ends.filter((end) => Number.isFinite(end.height)),
  );
}

/**
 * @type {(context: Context, shown: Line, place: Place, normalized: boolean, colour: string,
 *   x: StepAxis, y: ValueAxis) => void}
 */
function drawPick(context, { series, dashed }, place, normalized, colour, x, y) {
  const cell = series.cellOf(place);
  /** @type {(at: number) => number} */
  const value = (at) => series.value(at, cell, normalized);
  context.fillStyle = colour;
  context.strokeStyle = colour;
  context.globalAlpha = dashed ? 0.1 : 0.2;
  drawBand(context, x, y, series.steps, value, (at) => series.half(at, cell, normalized));
  context.globalAlpha = 1;
  context.lineWidth = dashed ? 1.4 : 2;
  context.setLineDash(dashed ? [2, 3] : []);
  drawLine(context, x, y, series.steps, value);
  context.setLineDash([]);
  drawPassMarks(context, x, y, series, cell, normalized, colour);
}

/**
 * @type {(context: Context, x: StepAxis, y: ValueAxis, ends: {name: string, colour: string,
 *   height: number}[]) => void}
 */
function drawLabels(context, x, y, ends) {
  const wished = ends.map((end) => end.height);
  const heights = spread(wished, 15, y.top + 4, y.bottom - 4);
  for (const [i, { name, colour }] of ends.entries()) {
    write(context, name, x.right + 8, heights[i], { colour, style: font(12, palette.sans, 600) });
  }
}

/** @type {(context: Context, view: MeasuredView, x: StepAxis, y: ValueAxis, below: Scalar) => void} */
function drawOtherBelow(context, { other }, x, y, below) {
  const theirs = other?.scalars.get(below.name);
  if (!theirs) return;
  context.strokeStyle = palette.muted;
  context.setLineDash([2, 3]);
  drawLine(context, x, y, theirs.steps, (i) => theirs.values[i] ?? Number.NaN);
  context.setLineDash([]);
}

/**
 * The line at the step that is shown, with a point on each picked head.
 * @type {(view: MeasuredView, axes: Axes) => void}
 */
function drawStepLine({ series, step, index, picks, normalized }, { x, upper, lower }) {
  const context = fit(front, trajectory.size.width, trajectory.size.height);
  const pixel = Math.round(x.at(step)) + 0.5;
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  line(context, pixel, upper.top, pixel, lower.bottom);
  context.setLineDash([]);
  if (index < 0) return;
  for (const [i, place] of picks.entries()) {
    const height = upper.at(series.value(index, series.cellOf(place), normalized));
    if (!Number.isFinite(height)) continue;
    const hollow = series.estimated(index, series.cellOf(place));
    drawShownMark(context, x.at(series.steps[index]), height, palette.categories[i], hollow);
  }
}

/** @type {(view: MeasuredView) => void} */
function listPicks({ series, picks }) {
  const items = picks.map((place, i) => {
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = series.nameOf(place);
    const drop = document.createElement("button");
    drop.type = "button";
    drop.textContent = "×";
    drop.setAttribute("aria-label", `Stop comparing ${series.nameOf(place)}`);
    drop.hidden = picks.length < 2;
    drop.addEventListener("click", () => unpick(place));
    item.append(swatch(palette.categories[i]), name, document.createElement("span"), drop);
    return item;
  });
  picksList.replaceChildren(...items);
}

/** @type {(view: MeasuredView) => void} */
function updatePicks(view) {
  const { series, index, picks, normalized } = view;
  const values = picksList.querySelectorAll("span");
  for (const [i, place] of picks.entries()) {
    const cell = series.cellOf(place);
    const value = index < 0 ? "not measured yet" : formatEffect(series, index, cell, normalized);
    values[i].textContent = [value, shiftText(series, cell)].filter(Boolean).join(" · ");
  }
}

/** The pass nearest to the pointer. @type {(event: MouseEvent, axes: Axes) => number} */
function passAt(event, { x }) {
  const wanted = x.step(pointerOn(trajectory.stage, event)[0]);
  const { steps } = trajectory.view;
  const before = Math.max(0, indexAt(steps, wanted));
  const after = Math.min(steps.length - 1, before + 1);
  const nearer = Math.abs(steps[after] - wanted) < Math.abs(steps[before] - wanted);
  return nearer ? steps[after] : steps[before];
}

/**
 * The picked heads' values and the scalar at a step.
 * @type {(view: MeasuredView, axes: Axes, step: number) => string[]}
 */
function describeStep({ series, picks, normalized }, { below }, step) {
  const index = indexAt(series.steps, step);
  const lines = picks.map((place) => {
    const cell = series.cellOf(place);
    if (index < 0) return `${series.nameOf(place)}  –`;
    const hollow = series.estimated(index, cell) ? " (estimate)" : "";
    return `${series.nameOf(place)}  ${formatEffect(series, index, cell, normalized)}${hollow}`;
  });
  const at = indexAt(below.steps, step);
  const scalar = at < 0 ? [] : [`${below.name}  ${formatNumber(below.values[at])}`];
  return [`Step ${formatStep(step)}`, ...lines, ...scalar];
}

trajectory.stage.addEventListener("pointerdown", (event) => {
  if (trajectory.axes) goTo(passAt(event, trajectory.axes));
});
trajectory.stage.addEventListener("pointermove", (event) => {
  const { axes, view } = trajectory;
  if (!axes || !isMeasured(view)) return;
  const step = passAt(event, axes);
  if (event.buttons & 1) goTo(step);
  showTip(event, describeStep(view, axes, step));
});
trajectory.stage.addEventListener("pointerleave", hideTip);

/** @type {() => Row[]} */
function sheet() {
  const { view } = trajectory;
  if (!isMeasured(view)) return [];
  const shown = quantity(view.series, view.normalized).name;
  const header = ["run", "series", "step", "layer", unitColumn(view.series), shown, "interval_95_half"];
  const lines = linesOf(view).flatMap((one) =>
    view.picks.map((place) => lineRows(one, place, view.normalized)),
  );
  return [header, ...lines.flat()];
}

/** @type {(shown: Line, place: Place, normalized: boolean) => Row[]} */
function lineRows({ series, run }, place, normalized) {
  const cell = series.cellOf(place);
  const at = series.dims.length > 1 ? place : [place[0], ""];
  return series.steps.map((step, i) => [
    run.name,
    series.label,
    step,
    ...at,
    numberCell(series.value(i, cell, normalized)),
    series.half(i, cell, normalized),
  ]);
}
