// @ts-check
// Which attention maps are shown: of which prompt, and of the last step that has some.

import { formatStep } from "./format.js";
import { refresh } from "./redraw.js";
import { readyFrame } from "./source.js";
import { state } from "./state.js";

/** @import { Run } from "./runs.js" */
/** @import { ShownFrame, View } from "./types.js" */

/**
 * The series of frames and the prompt that are shown; null where there are none.
 * @type {(run: Run) => {label: string, prompt: number} | null}
 */
export function shownPrompt(run) {
  const [first] = run.frames.keys();
  if (first === undefined) return null;
  const chosen = state.prompt && run.frames.has(state.prompt[0]) ? state.prompt : null;
  return chosen ? { label: chosen[0], prompt: chosen[1] } : { label: first, prompt: 0 };
}

/**
 * The decoded frame of a run at the step that is shown, or why there is none.
 * @type {(view: View, run?: Run | null) => ShownFrame}
 */
export function shownFrame(view, run = view.run) {
  const nothing = { prompt: 0, tokens: [] };
  const chosen = run && shownPrompt(run);
  if (!run || !chosen || view.step === null) {
    return {
      ...nothing,
      why: "No attention maps in this run yet. Add AttentionMaps to the trainer's callbacks.",
    };
  }
  const frame = run.frameAt(chosen.label, view.step);
  if (!frame) {
    const first = formatStep(run.frames.get(chosen.label)?.steps[0] ?? 0);
    const here = `No attention maps yet at step ${formatStep(view.step)}`;
    return { ...nothing, why: `${here}; the first are of step ${first}.` };
  }
  if (frame.broken) {
    return { ...nothing, why: `The attention maps of step ${formatStep(frame.step)} could not be read.` };
  }
  const ready = readyFrame(view.source, run, frame, refresh);
  if (!ready) return { ...nothing, waiting: true };
  const prompt = Math.min(chosen.prompt, ready.tokens.length - 1);
  return { frame: ready, prompt, tokens: ready.tokens[prompt] };
}
