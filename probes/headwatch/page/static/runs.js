// @ts-check
// What is known of the runs. Payloads are merged in as they come: the whole of a report, or a live run's latest lines.

import { Series, seriesKey } from "./series.js";
import { indexAt, upsert } from "./steps.js";

/** @import { FindingsPayload, FrameGroup, FramePayload, Place, Prompts, ReadyFrame } from "./types.js" */
/** @import { RunPayload, Scalar, SeriesPayload } from "./types.js" */

const MOST_COLUMNS = 100;

/** One run: its series, scalars, attention frames and prompts. */
export class Run {
  /** @param {number} id @param {string} name */
  constructor(id, name) {
    this.id = id;
    this.name = name;
    this.loaded = false;
    this.version = 0;
    this.cursor = 0;
    this.drawn = 0; // the cursor when the page was last drawn
    this.behind = false; // whether the server has more of it
    this.asked = 0; // how many passes there were when findings were last asked for
    /** @type {Record<string, number>} */
    this.model = {};
    /** @type {Map<string, Series>} */
    this.series = new Map();
    /** @type {Map<string, Scalar>} */
    this.scalars = new Map();
    /** @type {Map<string, FrameGroup>} */
    this.frames = new Map();
    /** @type {Map<string, Prompts>} */
    this.prompts = new Map();
    /** @type {RunPayload["notes"]} */
    this.notes = [];
    /** @type {string[]} */
    this.problems = [];
    this.known = { version: -1, steps: /** @type {number[]} */ ([]) };
  }

  /** @param {RunPayload} payload */
  merge(payload) {
    this.model = payload.model;
    this.loaded = true;
    for (const part of payload.series) this.seriesFor(part).merge(part);
    for (const part of payload.scalars) this.mergeScalar(part);
    for (const part of payload.frames) this.mergeFrame(part);
    for (const part of payload.prompts) this.prompts.set(part.label, part);
    this.notes.push(...payload.notes);
    this.problems.push(...payload.problems);
    if (payload.findings) this.learn(payload.findings);
    this.version += 1;
  }

  /** Take over what the effects on every pair say. @param {FindingsPayload[]} findings */
  learn(findings) {
    for (const part of findings) this.series.get(seriesKey(part))?.learn(part);
    const unreadable = findings.flatMap((part) => part.problems);
    this.problems = [...new Set([...this.problems, ...unreadable])];
    this.version += 1;
  }

  /** @param {SeriesPayload} part */
  seriesFor(part) {
    const key = seriesKey(part);
    const known = this.series.get(key) ?? new Series(part);
    this.series.set(key, known);
    return known;
  }

  /** @param {Scalar} scalar */
  mergeScalar({ name, steps, values }) {
    const known = this.scalars.get(name) ?? { name, steps: [], values: [] };
    this.scalars.set(name, known);
    for (const [i, step] of steps.entries()) upsert(known.steps, known.values, step, values[i]);
  }

  /** @param {FramePayload} part */
  mergeFrame(part) {
    const known = this.frames.get(part.label) ?? { label: part.label, steps: [], items: [] };
    this.frames.set(part.label, known);
    upsert(known.steps, known.items, part.step, { ...part, bytes: null, asked: false });
  }

  /** What fits a map with a row per layer; thousands of neurons a layer do not. */
  headSeries() {
    return [...this.series.values()].filter(
      ({ dims, byPosition, columns }) =>
        !byPosition && dims[0] === "layer" && dims.length <= 2 && columns.length <= MOST_COLUMNS,
    );
  }

  positionSeries() {
    return [...this.series.values()].filter((series) => series.byPosition && series.dims[0] === "layer");
  }

  /** Every step at which something was measured, ascending. */
  steps() {
    if (this.known.version !== this.version) {
      const groups = [...this.series.values(), ...this.frames.values()];
      const all = new Set(groups.flatMap((group) => group.steps));
      this.known = { version: this.version, steps: [...all].sort((a, b) => a - b) };
    }
    return this.known.steps;
  }

  /** The attention frame at or before a step, or null. @param {string} label @param {number} step */
  frameAt(label, step) {
    const group = this.frames.get(label);
    const index = group ? indexAt(group.steps, step) : -1;
    return group && index >= 0 ? group.items[index] : null;
  }
}

/**
 * The weights of one head in a decoded frame: the lower triangle, row by row, 0 to 255.
 * @type {(frame: ReadyFrame, prompt: number, head: Place) => Uint8Array}
 */
export function headWeights(frame, prompt, [layer, head]) {
  const [layers, heads] = frame.heads;
  let offset = 0;
  for (let i = 0; i < prompt; i++) offset += layers * heads * triangle(frame.tokens[i].length);
  const size = triangle(frame.tokens[prompt].length);
  const start = offset + (layer * heads + head) * size;
  return frame.bytes.subarray(start, start + size);
}

/** How many weights the lower triangle of a map has. @type {(tokens: number) => number} */
export function triangle(tokens) {
  return (tokens * (tokens + 1)) / 2;
}
