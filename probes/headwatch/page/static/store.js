"use strict";
// What is known of the runs. Payloads are merged in as they come: the whole of a report, or a live run's latest lines.

const MOST_COLUMNS = 100;

/** The last index whose step is at most `step`; -1 where there is none. */
function indexAt(steps, step) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/** Put an item at its step, in place of one that is there. */
function upsert(steps, items, step, item) {
  const at = indexAt(steps, step);
  if (at >= 0 && steps[at] === step) { items[at] = item; return; }
  steps.splice(at + 1, 0, step);
  items.splice(at + 1, 0, item);
}

/** The values of one question over training. */
class Series {
  constructor(payload) {
    for (const key of ["label", "probe", "site", "kind", "metric", "exact", "dims", "shape"]) this[key] = payload[key];
    this.key = seriesKey(payload);
    this.cells = payload.shape.reduce((product, size) => product * size, 1);
    this.steps = [];
    this.points = [];
    this.total = 0;
    this.extents = new Map();
  }

  merge(payload) {
    const means = decodeRows(payload.mean, this.cells);
    const errors = payload.stderr && decodeRows(payload.stderr, this.cells);
    payload.steps.forEach((step, i) => upsert(this.steps, this.points, step, {
      step, mean: means[i], stderr: errors ? errors[i] : null, quantile: tQuantile(payload.n[i]), n: payload.n[i],
      baseline: payload.baseline[i], clean: payload.clean[i], corrupted: payload.corrupted[i], seconds: payload.seconds[i],
    }));
    this.total = Math.max(this.total, payload.total, this.steps.length);
    this.extents.clear();
  }

  get isScore() { return this.kind === "score"; }

  get byPosition() { return this.dims.includes("position"); }

  /** Whether 0 to 1 between the corrupted and the clean prompts is defined. */
  get canNormalize() {
    return this.points.some((point) => point.corrupted !== null && point.corrupted !== point.clean);
  }

  /** Factor and offset that turn an effect of a pass into what is shown. */
  factor(point, normalized) {
    if (!normalized) return [1, 0];
    const gap = point.clean - point.corrupted;
    return point.corrupted === null || !gap ? [NaN, NaN] : [1 / gap, (point.baseline - point.corrupted) / gap];
  }

  value(index, cell, normalized) {
    const [factor, offset] = this.factor(this.points[index], normalized);
    return this.points[index].mean[cell] * factor + offset;
  }

  /** Half the width of the 95% interval. */
  half(index, cell, normalized) {
    const point = this.points[index];
    if (!point.stderr) return NaN;
    return point.stderr[cell] * point.quantile * Math.abs(this.factor(point, normalized)[0]);
  }

  /** Whether the 95% interval leaves out "no effect". */
  marked(index, cell) {
    return Math.abs(this.value(index, cell, false)) > this.half(index, cell, false);
  }

  /** What "no effect" is in the shown unit: 0, or 1 where noise is measured from the clean run. */
  centre(normalized) { return normalized && this.kind === "noise" ? 1 : 0; }

  /** The colour scale of one pass, or of all. */
  scale(normalized, index) {
    const key = `${normalized} ${index}`;
    if (!this.extents.has(key)) this.extents.set(key, this.measure(normalized, index));
    return this.extents.get(key);
  }

  measure(normalized, index) {
    const centre = this.centre(normalized);
    let reach = 0;
    let high = 0;
    const rows = index === null ? this.points.keys() : [index];
    for (const row of rows) {
      const [factor, offset] = this.factor(this.points[row], normalized);
      for (const mean of this.points[row].mean) {
        const value = mean * factor + offset;
        if (value > high) high = value;
        const away = Math.abs(value - centre);
        if (away > reach) reach = away;
      }
    }
    const diverging = !this.isScore && this.probe !== "gradients";
    return { diverging, centre, reach: reach || 1, low: 0, high: high || 1 };
  }
}

function seriesKey(payload) {
  const { label, probe, site, kind, metric, dims, shape } = payload;
  return [label, probe, site, kind, metric, dims.join("-"), shape.join("x")].join("|");
}

/** One run: its series, scalars, attention frames and prompts. */
class Run {
  constructor(id, name) {
    Object.assign(this, { id, name, model: {}, loaded: false, version: 0, cursor: 0 });
    this.series = new Map();
    this.scalars = new Map();
    this.frames = new Map();
    this.prompts = new Map();
    this.notes = [];
    this.problems = [];
  }

  merge(payload) {
    Object.assign(this, { model: payload.model, loaded: true });
    for (const part of payload.series) this.seriesFor(part).merge(part);
    for (const part of payload.scalars) this.mergeScalar(part);
    for (const part of payload.frames) this.mergeFrame(part);
    for (const part of payload.prompts) this.prompts.set(part.label, part);
    this.notes.push(...payload.notes);
    this.problems.push(...payload.problems);
    this.version += 1;
  }

  seriesFor(part) {
    const key = seriesKey(part);
    if (!this.series.has(key)) this.series.set(key, new Series(part));
    return this.series.get(key);
  }

  mergeScalar({ name, steps, values }) {
    if (!this.scalars.has(name)) this.scalars.set(name, { name, steps: [], values: [] });
    const known = this.scalars.get(name);
    steps.forEach((step, i) => upsert(known.steps, known.values, step, values[i]));
  }

  mergeFrame(part) {
    if (!this.frames.has(part.label)) this.frames.set(part.label, { label: part.label, steps: [], items: [] });
    const known = this.frames.get(part.label);
    upsert(known.steps, known.items, part.step, { ...part, bytes: null, asked: false });
  }

  /** What fits a map with a row per layer; thousands of neurons a layer do not. */
  headSeries() {
    const fits = ({ shape, dims, byPosition }) => !byPosition && dims[0] === "layer" && shape.length <= 2 && (shape[1] ?? 1) <= MOST_COLUMNS;
    return [...this.series.values()].filter(fits);
  }

  positionSeries() {
    return [...this.series.values()].filter((series) => series.byPosition && series.dims[0] === "layer");
  }

  /** Every step at which something was measured, ascending. */
  steps() {
    if (this.stepsVersion !== this.version) {
      const all = new Set();
      for (const series of this.series.values()) series.steps.forEach((step) => all.add(step));
      for (const group of this.frames.values()) group.steps.forEach((step) => all.add(step));
      this.allSteps = [...all].sort((a, b) => a - b);
      this.stepsVersion = this.version;
    }
    return this.allSteps;
  }

  /** The attention frame at or before a step, or null. */
  frameAt(label, step) {
    const group = this.frames.get(label);
    const index = group ? indexAt(group.steps, step) : -1;
    return index < 0 ? null : group.items[index];
  }
}

/** The weights of one head in a decoded frame: the lower triangle, row by row, 0 to 255. */
function headWeights(frame, prompt, [layer, head]) {
  const [layers, heads] = frame.heads;
  let offset = 0;
  for (let i = 0; i < prompt; i++) offset += layers * heads * triangle(frame.tokens[i].length);
  const size = triangle(frame.tokens[prompt].length);
  const start = offset + (layer * heads + head) * size;
  return frame.bytes.subarray(start, start + size);
}

function triangle(tokens) {
  return (tokens * (tokens + 1)) / 2;
}
