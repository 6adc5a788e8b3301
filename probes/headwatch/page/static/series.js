// @ts-check
// The values of one question over training, and what its cells are called.

import { countsOf, decodeRows, fromBase64, isSet } from "./decode.js";
import { upsert } from "./steps.js";

/** @import { Asked, ChangeEvent, Estimate, EstimatesPayload, FindingsPayload } from "./types.js" */
/** @import { PairedChange, Place, Point, Scale, SeriesPayload, Shift } from "./types.js" */

/**
 * What the effects on every pair say.
 * @typedef {{changes: Map<string, PairedChange>, shifts: Map<number, Shift>, events: ChangeEvent[],
 *   comparisons: number, byChance: number | null}} Findings
 */

/** @type {Findings} */
const NO_FINDINGS = { changes: new Map(), shifts: new Map(), events: [], comparisons: 0, byChance: null };

export class Series {
  /** @param {SeriesPayload} payload */
  constructor(payload) {
    this.label = payload.label;
    this.probe = payload.probe;
    this.site = payload.site;
    this.kind = payload.kind;
    this.metric = payload.metric;
    this.firstOrder = payload.first_order;
    this.dims = payload.dims;
    this.shape = payload.shape;
    this.key = seriesKey(payload);
    this.cells = payload.shape.reduce((product, size) => product * size, 1);
    /** The places on each axis, as the model counts them. */
    this.axes = payload.shape.map((size, i) => payload.coords[payload.dims[i]] ?? [...Array(size).keys()]);
    /** @type {number[]} */
    this.steps = [];
    /** @type {Point[]} */
    this.points = [];
    this.total = 0;
    /** @type {Map<string, Scale>} */
    this.scales = new Map();
    this.findings = NO_FINDINGS;
  }

  /** Take over what the effects on every pair say. @param {FindingsPayload} payload */
  learn(payload) {
    /** @type {Map<string, PairedChange>} */
    const changes = new Map();
    for (const { before, after, mean, half, marks, by_chance } of payload.changes) {
      const [[means], [halves]] = [decodeRows(mean, this.cells), decodeRows(half, this.cells)];
      const change = { mean: means, half: halves, marks: fromBase64(marks), byChance: by_chance };
      changes.set(`${before}|${after}`, change);
    }
    const shifts = new Map(payload.shifts.map((shift) => [shift.cell, shift]));
    const { events, comparisons, by_chance } = payload;
    this.findings = { changes, shifts, events, comparisons, byChance: by_chance };
  }

  /** The change between two passes, pair by pair, where it is known. @param {number} before @param {number} after */
  change(before, after) {
    return this.findings.changes.get(`${this.steps[before]}|${this.steps[after]}`) ?? null;
  }

  /** @param {SeriesPayload} payload */
  merge(payload) {
    const means = decodeRows(payload.mean, this.cells);
    const halves = payload.half && decodeRows(payload.half, this.cells);
    const estimates = payload.estimates && readEstimates(payload.estimates, this.cells);
    payload.steps.forEach((step, i) => {
      upsert(this.steps, this.points, step, {
        step,
        mean: means[i],
        half: halves?.[i] ?? null,
        marks: payload.marks && fromBase64(payload.marks[i]),
        estimate: estimates?.[i] ?? null,
        cost: payload.cost[i],
        overhead: payload.overhead[i],
        n: payload.n[i],
        baseline: payload.baseline[i],
        clean: payload.clean[i],
        corrupted: payload.corrupted[i],
        seconds: payload.seconds[i],
      });
    });
    this.total = Math.max(this.total, payload.total, this.steps.length);
    this.scales.clear();
  }

  get isScore() {
    return this.kind === "score";
  }

  get isOfHeads() {
    return this.dims[1] === "head";
  }

  get byPosition() {
    return this.dims.includes("position");
  }

  /** The layers of the rows. */
  get rows() {
    return this.axes[0];
  }

  /** The heads or neurons of the columns; 0 alone where a row is a whole layer. */
  get columns() {
    return this.axes[1] ?? [0];
  }

  /** Where in a pass's values a layer and head is; -1 where the series has no such. @param {Place} place */
  cellOf([layer, unit]) {
    const [row, column] = [this.rows.indexOf(layer), this.columns.indexOf(unit)];
    return row < 0 || column < 0 ? -1 : row * this.columns.length + column;
  }

  /** The layer and head of a value. @param {number} cell @returns {Place} */
  placeOf(cell) {
    const columns = this.columns.length;
    return [this.rows[Math.floor(cell / columns)], this.columns[cell % columns]];
  }

  /** "L9H9"; "L9" and "L9N200" where a series is over whole layers or neurons. @param {Place} place */
  nameOf([layer, unit]) {
    const axis = this.dims[1];
    return axis ? `L${layer}${axis.charAt(0).toUpperCase()}${unit}` : `L${layer}`;
  }

  /** Whether another series has the same cells. @param {Series} other */
  coversAs(other) {
    return this.dims.join() === other.dims.join() && this.axes.join("|") === other.axes.join("|");
  }

  /** Whether 0 to 1 between the corrupted and the clean prompts is defined. */
  get canNormalize() {
    return this.points.some((point) => point.corrupted !== null && point.corrupted !== point.clean);
  }

  /**
   * Factor and offset that turn an effect of a pass into what is shown.
   * @param {Point} point
   * @param {boolean} normalized
   */
  factor({ corrupted, clean, baseline }, normalized) {
    if (!normalized) return [1, 0];
    if (corrupted === null || clean === null || baseline === null) return [Number.NaN, Number.NaN];
    const gap = clean - corrupted;
    return gap ? [1 / gap, (baseline - corrupted) / gap] : [Number.NaN, Number.NaN];
  }

  /** @param {number} index @param {number} cell @param {boolean} normalized */
  value(index, cell, normalized) {
    const [factor, offset] = this.factor(this.points[index], normalized);
    return this.points[index].mean[cell] * factor + offset;
  }

  /**
   * Half the width of the 95% interval.
   * @param {number} index
   * @param {number} cell
   * @param {boolean} normalized
   */
  half(index, cell, normalized) {
    const point = this.points[index];
    if (!point.half) return Number.NaN;
    return point.half[cell] * Math.abs(this.factor(point, normalized)[0]);
  }

  /** Whether the 95% interval leaves out "no effect". @param {number} index @param {number} cell */
  excludesZero(index, cell) {
    return Math.abs(this.value(index, cell, false)) > this.half(index, cell, false);
  }

  /**
   * Whether the effect stands out at a false discovery rate of 5% over all cells.
   * @param {number} index
   * @param {number} cell
   */
  marked(index, cell) {
    return isSet(this.points[index].marks, cell);
  }

  /** Whether some pairs of a cell had no exact run. @param {number} index @param {number} cell */
  estimated(index, cell) {
    const { estimate, n } = this.points[index];
    return estimate !== null && estimate.nExact[cell] < n;
  }

  /** Whether a cell's interval is not to be trusted. @param {number} index @param {number} cell */
  suspect(index, cell) {
    return isSet(this.points[index].estimate?.suspect ?? null, cell);
  }

  /**
   * What "no effect" is in the shown unit: 0, or 1 where noise is measured from the clean run.
   * @param {boolean} normalized
   */
  centre(normalized) {
    return normalized && this.kind === "noise" ? 1 : 0;
  }

  /** The colour scale of one pass, or of all. @param {boolean} normalized @param {number | null} index */
  scale(normalized, index) {
    const key = `${normalized} ${index}`;
    const known = this.scales.get(key) ?? this.measure(normalized, index);
    this.scales.set(key, known);
    return known;
  }

  /** @param {boolean} normalized @param {number | null} index @returns {Scale} */
  measure(normalized, index) {
    const centre = this.centre(normalized);
    let reach = 0;
    let high = 0;
    for (const point of index === null ? this.points : [this.points[index]]) {
      const [factor, offset] = this.factor(point, normalized);
      for (const mean of point.mean) {
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

/** @type {(payload: Asked) => string} */
export function seriesKey(payload) {
  const { label, probe, site, kind, metric, dims, shape, coords } = payload;
  const chosen = Object.keys(coords).length ? [JSON.stringify(coords)] : [];
  return [label, probe, site, kind, metric, dims.join("-"), shape.join("x"), ...chosen].join("|");
}

/** One for each pass. @type {(payload: EstimatesPayload, cells: number) => (Estimate | null)[]} */
function readEstimates(payload, cells) {
  const explained = decodeRows(payload.explained, cells);
  return payload.n_exact.map((nExact, i) => {
    if (nExact === null) return null;
    const suspect = payload.suspect[i];
    return {
      nExact: countsOf(nExact),
      suspect: suspect === null ? null : fromBase64(suspect),
      covariate: payload.covariate[i],
      explained: explained[i],
    };
  });
}
