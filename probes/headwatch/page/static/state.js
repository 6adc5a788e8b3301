// @ts-check
// What the reader has chosen, and the link that restores it. Everything drawn follows from `state` and the runs.

import { refresh } from "./redraw.js";

/** @import { Place, State } from "./types.js" */

const MOST_PICKS = 6;

/** @type {State} */
export const state = {
  run: null, // names of runs
  other: null,
  series: null, // key of the series of heads
  colour: "effect", // effect, normalized, or the key of a score
  scale: "run",
  step: null, // null: the newest
  picks: [], // the first is the picked one, the others are compared
  since: null, // null: the first pass
  prompt: null,
  view: null, // null: map and lines of one head, maps alone of several
  compare: "both",
  scalar: null,
  axis: "linear",
  position: null, // key of the series by position
  positionView: null,
  pair: 0,
  theme: null,
};

/**
 * @typedef {"run" | "other" | "series" | "colour" | "scale" | "view" | "compare" | "scalar" | "axis" | "position"
 *   | "positionView" | "theme"} TextKey
 */

/** What texts are called in a link. @type {[name: string, key: TextKey][]} */
const TEXTS = [
  ["run", "run"],
  ["vs", "other"],
  ["probe", "series"],
  ["colour", "colour"],
  ["scale", "scale"],
  ["view", "view"],
  ["compare", "compare"],
  ["below", "scalar"],
  ["axis", "axis"],
  ["position", "position"],
  ["show", "positionView"],
  ["theme", "theme"],
];

/** @type {Record<string, string[]>} */
const ONE_OF = {
  view: ["map", "lines", "both"],
  compare: ["both", "difference"],
  scale: ["run", "step"],
  axis: ["linear", "log"],
  theme: ["light", "dark"],
};

/** The view as the part of a link after #. @type {(view: State) => string} */
export function linkOf(view) {
  const link = new URLSearchParams();
  if (view.step !== null) link.set("step", String(view.step));
  if (view.picks.length) link.set("head", view.picks.map((head) => head.join(".")).join(","));
  for (const [name, key] of TEXTS) {
    const text = view[key];
    if (text !== null) link.set(name, text);
  }
  if (view.since !== null) link.set("since", String(view.since));
  if (view.prompt !== null) link.set("prompt", view.prompt.join(":"));
  if (view.pair) link.set("pair", String(view.pair));
  return link.toString();
}

/** Take over what a link says; what makes no sense is left as it was. @type {(text: string) => void} */
export function readLink(text) {
  const link = new URLSearchParams(text.replace(/^#/, ""));
  for (const [name, key] of TEXTS) {
    const value = link.get(name);
    if (value !== null && (!(key in ONE_OF) || ONE_OF[key].includes(value))) state[key] = value;
  }
  state.step = stepOr(link.get("step"), state.step);
  state.since = stepOr(link.get("since"), state.since);
  state.pair = wholeOr(link.get("pair"), state.pair);
  const heads = link.get("head");
  if (heads !== null) state.picks = readHeads(heads);
  const prompt = link.get("prompt");
  if (prompt !== null) {
    const at = prompt.lastIndexOf(":");
    state.prompt = [prompt.slice(0, Math.max(0, at)), wholeOr(prompt.slice(at + 1), 0)];
  }
}

/** @type {<T>(text: string | null, fallback: T) => number | T} */
function wholeOr(text, fallback) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : fallback;
}

/** A step, of which −1 is before training. @type {<T>(text: string | null, fallback: T) => number | T} */
function stepOr(text, fallback) {
  return text === "-1" ? -1 : wholeOr(text, fallback);
}

/** @type {(text: string) => Place[]} */
function readHeads(text) {
  const heads = text.split(",").map((head) => head.split(".").map((part) => wholeOr(part, Number.NaN)));
  const whole = heads.filter((head) => head.length === 2 && head.every(Number.isFinite));
  return whole.slice(0, MOST_PICKS).map(([layer, unit]) => [layer, unit]);
}

let linkTimer = 0;

/** Write the view into the address, at most a few times a second: browsers refuse more. */
function saveLink() {
  clearTimeout(linkTimer);
  linkTimer = setTimeout(() => history.replaceState(null, "", `#${linkOf(state)}`), 250);
}

/** The reader chose something: keep it in the link, and draw. */
export function changed() {
  saveLink();
  refresh();
}

/** @type {(a: Place, b: Place) => boolean} */
export function sameHead(a, b) {
  return a[0] === b[0] && a[1] === b[1];
}

/**
 * Pick a head alone, or add it to (or take it from) the compared ones.
 * @type {(head: Place, compare: boolean) => void}
 */
export function pick(head, compare) {
  const others = state.picks.filter((other) => !sameHead(other, head));
  if (!compare) state.picks = [head];
  else if (others.length < state.picks.length && others.length) state.picks = others;
  else state.picks = [...others, head].slice(-MOST_PICKS);
  changed();
}

/** @type {(head: Place) => void} */
export function unpick(head) {
  state.picks = state.picks.filter((other) => !sameHead(other, head));
  changed();
}

/**
 * Go to a step; the newest is followed again only in a report, where nothing newer comes.
 * @type {(step: number) => void}
 */
export function goTo(step) {
  if (state.step === step) return;
  state.step = step;
  changed();
}
