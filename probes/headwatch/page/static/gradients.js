// @ts-check
// Gradient importance beside the exact effect of the same heads: at the step that is shown, and how alike the two
// order the heads at every step.

import { fit, font, line, pointerOn, write } from "./canvas.js";
import { hideTip, makeCard, showTip } from "./card.js";
import { drawLine, drawStepAxis, drawValueAxis, formatTick, stepAxis, valueAxis } from "./chart.js";
import { palette } from "./colours.js";
import { byId, canvasesIn } from "./dom.js";
import { formatNumber, formatStep, quantity, seriesTitle } from "./format.js";
import { describeHead } from "./heads.js";
import { rankCorrelation } from "./rank_correlation.js";
import { pick, sameHead, state } from "./state.js";
import { indexAt } from "./steps.js";
import { isMeasured, lookUp } from "./view.js";

/** @import { Series } from "./series.js" */
/** @import { Context, MeasuredView, Place, Row, StepAxis, ValueAxis, View } from "./types.js" */

/**
 * A head's two numbers: its importance by gradients, and the size of its exact effect.
 * @typedef {{place: Place, importance: number, effect: number}} Both
 */

/** @typedef {Both & {x: number, y: number}} Dot */

const HEIGHT = 300;
const NEAR = 12;
const MOST_STEPS = 240;
const card = makeCard("gradients");

export const gradients = {
  ...card,
  canvas: canvasesIn(card.stage)[0],
  view: lookUp(),
  dots: /** @type {Dot[]} */ ([]),
  known: { key: "", correlation: /** @type {[step: number, value: number][]} */ ([]) },
  draw,
  sheet,
  pictures: () => [gradients.canvas],
};

/** @type {(view: View) => void} */
function draw(view) {
  gradients.view = view;
  const importance = isMeasured(view) ? importanceOf(view) : null;
  gradients.root.hidden = importance === null;
  if (importance === null || !isMeasured(view) || !gradients.size.width) return;
  const { width } = gradients.size;
  const chosen = [view.series.key, view.step, view.picks.join(";"), state.axis];
  const key = [width, palette.theme, view.run.name, view.run.version, ...chosen].join("|");
  if (key === gradients.key) return;
  gradients.key = key;
  const stacked = width < 640;
  const left = stacked ? width : Math.floor(width * 0.4);
  const context = fit(gradients.canvas, width, stacked ? 2 * HEIGHT + 20 : HEIGHT);
  drawScatter(context, view, importance, left);
  drawCorrelation(context, view, importance, stacked ? 0 : left + 30, stacked ? HEIGHT + 20 : 0);
  explain(view, importance);
}

/**
 * The run's importance by gradients, where the series that is shown has exact effects of heads.
 * @type {(view: MeasuredView) => Series | null}
 */
function importanceOf({ run, series }) {
  if (series.isScore || series.firstOrder || !series.isOfHeads) return null;
  const scores = run.headSeries().filter((one) => one.isScore && one.isOfHeads);
  return scores.find((one) => one.metric === "importance") ?? null;
}

/**
 * Both numbers of every head at a pass; importance is that of the last result up to it.
 * @type {(series: Series, index: number, importance: Series) => Both[]}
 */
function bothAt(series, index, importance) {
  const at = index < 0 ? -1 : indexAt(importance.steps, series.steps[index]);
  if (at < 0) return [];
  return Array.from({ length: series.cells }, (_, cell) => {
    const place = series.placeOf(cell);
    const other = importance.cellOf(place);
    const value = other < 0 ? Number.NaN : importance.value(at, other, false);
    return { place, importance: value, effect: Math.abs(series.value(index, cell, false)) };
  });
}

/** @type {(heads: Both[]) => number} */
function correlationOf(heads) {
  return rankCorrelation(
    heads.map(({ importance }) => importance),
    heads.map(({ effect }) => effect),
  );
}

/**
 * The rank correlation at each pass, of many passes at some.
 * @type {(view: MeasuredView, importance: Series) => [step: number, value: number][]}
 */
function correlations({ run, series }, importance) {
  const key = [run.id, run.version, series.key].join("|");
  if (gradients.known.key !== key) {
    const every = Math.max(1, Math.ceil(series.steps.length / MOST_STEPS));
    const shown = [...series.steps.keys()].filter((i) => i % every === 0 || i === series.steps.length - 1);
    const correlation = shown.map((i) => {
      /** @type {[step: number, value: number]} */
      const found = [series.steps[i], correlationOf(bothAt(series, i, importance))];
      return found;
    });
    gradients.known = { key, correlation };
  }
  return gradients.known.correlation;
}

/** A dot a head. @type {(context: Context, view: MeasuredView, importance: Series, right: number) => void} */
function drawScatter(context, { series, index, picks }, importance, right) {
  const heads = bothAt(series, index, importance);
  const known = heads.filter((head) => Number.isFinite(head.importance) && Number.isFinite(head.effect));
  const across = valueAxis(0, Math.max(1e-12, ...known.map((head) => head.importance)), right - 8, 54);
  const up = valueAxis(0, Math.max(1e-12, ...known.map((head) => head.effect)), 24, HEIGHT - 42);
  const x = { ...stepAxis(0, 1, 54, right - 8, false), ticks: [] };
  const { name, unit } = quantity(series, false);
  drawValueAxis(context, x, up, `|${name}|${unit ? ` (${unit})` : ""}`);
  for (const value of across.ticks) {
    const pixel = Math.round(across.at(value)) + 0.5;
    context.strokeStyle = palette.strong;
    line(context, pixel, up.bottom, pixel, up.bottom + 4);
    write(context, formatTick(value), pixel, up.bottom + 13, { align: "center" });
  }
  const style = font(11, palette.sans, 600);
  write(context, "Importance by gradients", x.right, up.bottom + 29, { align: "right", style });
  gradients.dots = known.map((head) => ({ ...head, x: across.at(head.importance), y: up.at(head.effect) }));
  drawDots(context, picks, series);
}

/** @type {(context: Context, picks: Place[], series: Series) => void} */
function drawDots(context, picks, series) {
  for (const { place, x, y } of gradients.dots) {
    const picked = picks.findIndex((other) => sameHead(other, place));
    context.fillStyle = picked < 0 ? palette.muted : palette.categories[picked];
    context.globalAlpha = picked < 0 ? 0.45 : 1;
    context.beginPath();
    context.arc(x, y, picked < 0 ? 3 : 5, 0, 2 * Math.PI);
    context.fill();
    context.globalAlpha = 1;
    const style = font(12, palette.sans, 600);
    const colour = palette.categories[picked];
    const [align, at] =
      x < 130 ? [/** @type {const} */ ("left"), x + 9] : [/** @type {const} */ ("right"), x - 9];
    if (picked >= 0) write(context, series.nameOf(place), at, y, { align, colour, style });
  }
}

/** @type {(context: Context, view: MeasuredView, importance: Series, left: number, top: number) => void} */
function drawCorrelation(context, view, importance, left, top) {
  const found = correlations(view, importance);
  const steps = found.map(([step]) => step);
  const right = gradients.size.width - 8;
  const x = stepAxis(steps[0], steps[steps.length - 1], left + 54, right, state.axis === "log");
  const values = found.map(([, value]) => value).filter(Number.isFinite);
  const y = valueAxis(Math.min(0, ...values), 1, top + 24, top + HEIGHT - 42);
  context.save();
  context.translate(left, 0);
  const moved = { ...x, left: x.left - left, right: x.right - left };
  drawValueAxis(context, moved, y, "Rank correlation of the two");
  context.restore();
  drawStepAxis(context, x, y.bottom);
  context.strokeStyle = palette.accent;
  context.lineWidth = 2;
  drawLine(context, x, y, steps, (i) => found[i][1]);
  drawShownStep(context, view.step, x, y);
}

/** @type {(context: Context, step: number, x: StepAxis, y: ValueAxis) => void} */
function drawShownStep(context, step, x, y) {
  const pixel = Math.round(x.at(step)) + 0.5;
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  line(context, pixel, y.top, pixel, y.bottom);
  context.setLineDash([]);
}

/** @type {(view: MeasuredView, importance: Series) => void} */
function explain({ series, index, step }, importance) {
  const now = correlationOf(bothAt(series, index, importance));
  const text = `${seriesTitle(series)}, step ${formatStep(step)}: rank correlation ${formatNumber(now)}`;
  byId("gradients-caption").textContent = text;
  gradients.canvas.setAttribute("aria-label", text);
}

/** The head under the pointer. @type {(event: MouseEvent) => Dot | null} */
function dotAt(event) {
  const [x, y] = pointerOn(gradients.canvas, event);
  const away = (/** @type {Dot} */ dot) => Math.hypot(dot.x - x, dot.y - y);
  const [nearest] = gradients.dots.toSorted((a, b) => away(a) - away(b));
  return nearest && away(nearest) < NEAR ? nearest : null;
}

gradients.canvas.addEventListener("click", (event) => {
  const dot = dotAt(event);
  if (dot) pick(dot.place, event.shiftKey);
});
gradients.canvas.addEventListener("pointermove", (event) => {
  const dot = dotAt(event);
  if (dot) showTip(event, describeHead(gradients.view, dot.place));
  else hideTip();
});
gradients.canvas.addEventListener("pointerleave", hideTip);

/** @type {() => Row[]} */
function sheet() {
  const { view } = gradients;
  const importance = isMeasured(view) ? importanceOf(view) : null;
  if (importance === null || !isMeasured(view)) return [];
  const rows = correlations(view, importance).map(([step, value]) => [
    view.run.name,
    view.series.label,
    step,
    value,
  ]);
  return [["run", "series", "step", "rank_correlation_with_gradient_importance"], ...rows];
}
