"use strict";
// Picked heads over training, with 95% bands, above the training loss on the same steps.
// Lines are drawn when data or picks change; a moving slider only redraws the line at its step.

const trajectory = makeCard("trajectory");
const [trajectoryBack, trajectoryFront] = trajectory.root.querySelectorAll("canvas");

trajectory.draw = (view) => {
  trajectory.view = view;
  const empty = !view.series || !view.series.points.length;
  trajectory.say(empty ? "Trajectories appear with the first pass of a probe." : null);
  if (empty || !trajectory.size.width) return;
  const key = trajectoryKey(view);
  if (key !== trajectory.key) {
    trajectory.key = key;
    trajectory.axes = trajectoryAxes(view);
    drawTrajectories(view, trajectory.axes);
    listPicks(view);
  }
  drawStepLine(view, trajectory.axes);
  updatePicks(view);
};

function trajectoryKey(view) {
  const { width, height } = trajectory.size;
  return [width, height, theme, view.run.name, view.run.version, view.other?.name, view.other?.version, view.series.key,
    view.normalized, view.picks.join(";"), state.scalar, state.axis].join("|");
}

/** The series below: a scalar of the run, or the metric that effects are measured from. */
function lowerSeries(view) {
  if (state.scalar === "baseline" || !view.run.scalars.size) {
    const { series } = view;
    const values = series.points.map((point) => point.baseline);
    return { name: `Baseline ${withUnit({ name: metricName(series.metric), unit: metricUnit(series.metric) })}`, steps: series.steps, values };
  }
  return view.run.scalars.get(state.scalar) ?? view.run.scalars.get(defaultScalar(view.run));
}

function defaultScalar(run) {
  const names = [...run.scalars.keys()];
  return names.find((name) => /^train.*loss/i.test(name)) ?? names.find((name) => /loss/i.test(name)) ?? names[0];
}

function trajectoryAxes(view) {
  const { width, height } = trajectory.size;
  const below = lowerSeries(view);
  const steps = [view.steps[0], view.steps.at(-1), below.steps[0], below.steps.at(-1)].filter((step) => step !== undefined);
  const x = stepAxis(Math.min(...steps), Math.max(...steps), 54, width - 64, state.axis === "log");
  const split = Math.round((height - 62) * 0.66);
  return { x, below, upper: valueAxis(...rangeOf(view), 24, split), lower: valueAxis(...rangeOfValues(below.values), split + 40, height - 38) };
}

/** The values of all heads and of the picked heads' bands. */
function rangeOf(view) {
  let [low, high] = [view.series.centre(view.normalized), view.series.centre(view.normalized)];
  const include = (value) => { if (value < low) low = value; if (value > high) high = value; };
  for (const { series } of lineSeries(view)) {
    for (let i = 0; i < series.points.length; i++) {
      const [factor, offset] = series.factor(series.points[i], view.normalized);
      for (const mean of series.points[i].mean) include(mean * factor + offset);
    }
  }
  return [low, high];
}

function rangeOfValues(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  return low > high ? [0, 1] : [low, high];
}

function lineSeries(view) {
  const own = { series: view.series, run: view.run, dashed: false };
  return view.otherSeries ? [own, { series: view.otherSeries, run: view.other, dashed: true }] : [own];
}

function drawTrajectories(view, { x, upper, lower, below }) {
  const context = fit(trajectoryBack, trajectory.size.width, trajectory.size.height);
  drawValueAxis(context, x, upper, withUnit(quantity(view.series, view.normalized)));
  drawValueAxis(context, x, lower, below.name);
  drawStepAxis(context, x, lower.bottom);
  drawAllHeads(context, view, x, upper);
  drawLabels(context, x, drawPicks(context, view, x, upper), upper);
  context.strokeStyle = palette.text;
  context.lineWidth = 1.4;
  drawLine(context, x, lower, below.steps, (i) => below.values[i] ?? NaN);
  drawOtherBelow(context, view, x, lower, below);
}

/** Every head as a faint line, with fewer points than pixels. */
function drawAllHeads(context, view, x, y) {
  const { series, normalized } = view;
  const every = Math.max(1, Math.floor(series.steps.length / 240));
  context.strokeStyle = palette.strong;
  context.lineWidth = 1;
  context.globalAlpha = 0.3;
  const most = Math.min(series.cells, 600);
  for (let cell = 0; cell < most; cell++) drawLine(context, x, y, series.steps, (i) => series.value(i, cell, normalized), every);
  context.globalAlpha = 1;
}

/** The picked heads; returns where each line ends. */
function drawPicks(context, view, x, y) {
  const ends = [];
  for (const { series, dashed } of lineSeries(view)) {
    view.picks.forEach((head, i) => {
      const cell = head[0] * (series.shape[1] ?? 1) + head[1];
      const value = (at) => series.value(at, cell, view.normalized);
      context.fillStyle = context.strokeStyle = palette.categories[i];
      context.globalAlpha = dashed ? 0.1 : 0.2;
      drawBand(context, x, y, series.steps, value, (at) => series.half(at, cell, view.normalized));
      context.globalAlpha = 1;
      context.lineWidth = dashed ? 1.4 : 2;
      context.setLineDash(dashed ? [2, 3] : []);
      drawLine(context, x, y, series.steps, value);
      context.setLineDash([]);
      if (!dashed) ends.push({ head, colour: palette.categories[i], place: y.at(value(series.points.length - 1)) });
    });
  }
  return ends.filter((end) => Number.isFinite(end.place));
}

function drawLabels(context, x, ends, y) {
  const places = spread(ends.map((end) => end.place), 15, y.top + 4, y.bottom - 4);
  ends.forEach((end, i) => write(context, headName(end.head), x.right + 8, places[i], { colour: end.colour, style: font(12, palette.sans, 600) }));
}

function drawOtherBelow(context, view, x, y, below) {
  const theirs = view.other?.scalars.get(below.name);
  if (!theirs) return;
  context.strokeStyle = palette.muted;
  context.setLineDash([2, 3]);
  drawLine(context, x, y, theirs.steps, (i) => theirs.values[i] ?? NaN);
  context.setLineDash([]);
}

/** The line at the step that is shown, with a point on each picked head. */
function drawStepLine(view, { x, upper, lower }) {
  const context = fit(trajectoryFront, trajectory.size.width, trajectory.size.height);
  const pixel = Math.round(x.at(view.step)) + 0.5;
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  line(context, pixel, upper.top, pixel, lower.bottom);
  context.setLineDash([]);
  if (view.index < 0) return;
  view.picks.forEach((head, i) => {
    const cell = head[0] * (view.series.shape[1] ?? 1) + head[1];
    const place = upper.at(view.series.value(view.index, cell, view.normalized));
    if (Number.isFinite(place)) drawPoint(context, x.at(view.series.steps[view.index]), place, palette.categories[i]);
  });
}

function drawPoint(context, x, y, colour) {
  context.fillStyle = colour;
  context.strokeStyle = palette.card;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 4.5, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

const picksList = document.getElementById("picks");

function listPicks(view) {
  picksList.replaceChildren(...view.picks.map((head, i) => {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.className = "swatch";
    swatch.style.color = palette.categories[i];
    const name = document.createElement("b");
    name.textContent = headName(head);
    const drop = document.createElement("button");
    drop.type = "button";
    drop.textContent = "×";
    drop.setAttribute("aria-label", `Stop comparing ${headName(head)}`);
    drop.hidden = view.picks.length < 2;
    drop.addEventListener("click", () => unpick(head));
    item.append(swatch, name, document.createElement("span"), drop);
    return item;
  }));
}

function updatePicks(view) {
  view.picks.forEach((head, i) => {
    const cell = head[0] * (view.series.shape[1] ?? 1) + head[1];
    const known = view.index >= 0;
    picksList.children[i].querySelector("span").textContent = known
      ? formatInterval(view.series.value(view.index, cell, view.normalized), view.series.half(view.index, cell, view.normalized)) : "not measured yet";
  });
}

/** The pass nearest to the pointer. */
function passAt(event) {
  const { x } = trajectory.axes;
  const wanted = x.step(pointerOn(trajectory.stage, event)[0]);
  const { steps } = trajectory.view;
  const before = Math.max(0, indexAt(steps, wanted));
  const after = Math.min(steps.length - 1, before + 1);
  return Math.abs(steps[after] - wanted) < Math.abs(steps[before] - wanted) ? steps[after] : steps[before];
}

trajectory.stage.addEventListener("pointerdown", (event) => { if (trajectory.axes) goTo(passAt(event)); });
trajectory.stage.addEventListener("pointermove", (event) => {
  if (!trajectory.axes) return;
  const step = passAt(event);
  if (event.buttons & 1) goTo(step);
  const { view } = trajectory;
  const index = indexAt(view.series.steps, step);
  const lines = view.picks.map((head) => {
    const cell = head[0] * (view.series.shape[1] ?? 1) + head[1];
    return `${headName(head)}  ${index < 0 ? "–" : formatInterval(view.series.value(index, cell, view.normalized), view.series.half(index, cell, view.normalized))}`;
  });
  const { below } = trajectory.axes;
  const at = indexAt(below.steps, step);
  showTip(event, [`Step ${formatStep(step)}`, ...lines, ...(at < 0 ? [] : [`${below.name}  ${formatNumber(below.values[at])}`])]);
});
trajectory.stage.addEventListener("pointerleave", hideTip);

trajectory.sheet = () => {
  const { view } = trajectory;
  const rows = [["run", "series", "step", "layer", "head", quantity(view.series, view.normalized).name, "interval_95_half"]];
  for (const { series, run } of lineSeries(view)) {
    for (const head of view.picks) {
      const cell = head[0] * (series.shape[1] ?? 1) + head[1];
      series.steps.forEach((step, i) => rows.push([run.name, series.label, step, ...head, series.value(i, cell, view.normalized), series.half(i, cell, view.normalized)]));
    }
  }
  return rows;
};
trajectory.pictures = () => [trajectoryBack, trajectoryFront];
trajectory.layered = true;
