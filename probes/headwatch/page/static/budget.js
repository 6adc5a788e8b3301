// @ts-check
// What the passes of a run took of its training time, and the limit that was named, in the bar.

import { byId } from "./dom.js";
import { indexAt } from "./steps.js";

/** @import { Run } from "./runs.js" */
/** @import { View } from "./types.js" */

/** @type {(view: View) => void} */
export function showBudget({ run, step }) {
  const taken = run && step !== null ? overheadAt(run, step) : null;
  const limit = run ? limitOf(run) : null;
  const chip = byId("budget");
  chip.hidden = taken === null;
  if (taken === null) return;
  const named = limit === null ? "" : ` (limit ${percent(limit)})`;
  chip.textContent = `passes took ${percent(taken)} of training time${named}`;
  chip.classList.toggle("over", limit !== null && taken > limit);
}

/** As the last pass up to a step counted it; null where none did. @type {(run: Run, step: number) => number | null} */
function overheadAt(run, step) {
  let [latest, taken] = [-1, /** @type {number | null} */ (null)];
  for (const { steps, points } of run.series.values()) {
    const index = indexAt(steps, step);
    const overhead = index < 0 ? null : points[index].overhead;
    if (overhead !== null && steps[index] >= latest) [latest, taken] = [steps[index], overhead];
  }
  return taken;
}

/** The limit that a note of the run names; null where none does. @type {(run: Run) => number | null} */
function limitOf({ notes }) {
  const named = notes.map(({ message }) => /\bmax_overhead=(\d*\.?\d+)/.exec(message)?.[1]).filter(Boolean);
  return named.length ? Number(named.at(-1)) : null;
}

/** @type {(share: number) => string} */
function percent(share) {
  return `${Number((share * 100).toPrecision(2))}%`;
}
