// @ts-check
// The selects of the bar and the cards: from the runs to the choices there are.

import { attentionView } from "./attention.js";
import { buttonById, byId, inputById, selectById } from "./dom.js";
import { formatStep, metricName, seriesTitle, titleCase } from "./format.js";
import { shownPrompt } from "./frames.js";
import { fittingPairs, shownPositionSeries } from "./position_columns.js";
import { state } from "./state.js";
import { indexAt } from "./steps.js";
import { showPrompt } from "./tokens.js";
import { defaultScalar } from "./trajectory.js";
import { isMeasured } from "./view.js";

/** @import { Run } from "./runs.js" */
/** @import { Series } from "./series.js" */
/** @import { MeasuredView, View } from "./types.js" */

/**
 * A choice: its value, its text, and the group it stands in.
 * @typedef {[value: string, text: string, group?: string]} Choice
 */

/** @type {Record<string, string>} */
const GROUPS = { ablation: "Ablation", patching: "Patching", gradients: "Gradients", scores: "Head scores" };
let choicesKey = "";

/**
 * Fill a select with options, only where they differ from what it has.
 * @type {(id: string, options: Choice[], value?: string | null) => void}
 */
function fill(id, options, value) {
  const select = selectById(id);
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...grouped(options));
  }
  select.value = value ?? "";
  const field = select.closest(".field");
  if (field instanceof HTMLElement) field.hidden = options.length < 2;
}

/** @type {(options: Choice[]) => HTMLElement[]} */
function grouped(options) {
  const names = [...new Set(options.map(([, , group]) => group ?? ""))];
  return names.flatMap((name) => {
    const items = options.filter(([, , group]) => (group ?? "") === name);
    const shown = items.map(([value, text]) => new Option(text, value));
    if (!name) return shown;
    const group = document.createElement("optgroup");
    group.label = name;
    group.append(...shown);
    return [group];
  });
}

/** @type {(series: Series, all: Series[]) => Choice} */
function seriesOption(series, all) {
  const title = seriesTitle(series);
  const same = all.filter((other) => seriesTitle(other) === title).length > 1;
  const group = GROUPS[series.probe] ?? titleCase(series.probe);
  return [series.key, same ? `${title} · ${series.label}` : title, group];
}

/** Bring every control in line with the view. @type {(view: View) => void} */
export function showControls(view) {
  /** @type {Choice[]} */
  const names = view.source.runs.map((run) => [run.name, run.name]);
  const others = names.filter(([name]) => name !== view.run?.name);
  fill("run", names, view.run?.name);
  fill("other", [["", "nothing"], ...others], view.other?.name ?? state.other);
  const chosen = { ...state, step: null, since: null, theme: null };
  const shown = [view.run?.name, view.run?.version, view.series?.key, view.picks, view.normalized];
  const key = JSON.stringify([chosen, ...shown]);
  if (isMeasured(view) && key !== choicesKey) showChoices(view);
  choicesKey = key;
  showTransport(view);
  showPressed("attention-view", attentionView(view.picks, view.other ? 2 : 1));
  showPressed("compare-view", state.compare);
  selectById("scale").value = state.scale;
  selectById("axis").value = state.axis;
}

/** @type {(view: MeasuredView) => void} */
function showChoices(view) {
  const { run, series } = view;
  const all = run.headSeries();
  fill(
    "series",
    all.map((one) => seriesOption(one, all)),
    series.key,
  );
  showColours(view, all);
  /** @type {Choice[]} */
  const scalars = [...run.scalars.keys()].map((name) => [name, name]);
  const baseline = `baseline ${metricName(series.metric)}`;
  fill("scalar", [...scalars, ["baseline", baseline]], state.scalar ?? defaultScalar(run) ?? "baseline");
  showPrompts(run);
  showPositions(view);
}

/** @type {(view: MeasuredView, all: Series[]) => void} */
function showColours({ series, tint, normalized }, all) {
  const scores = all.filter((one) => one.isScore && one !== series && one.coversAs(series));
  /** @type {Choice[]} */
  const options = [["effect", series.isScore ? "score" : "effect"]];
  if (series.canNormalize) options.push(["normalized", "normalised effect"]);
  for (const one of scores) options.push([one.key, titleCase(one.metric), "Head scores"]);
  const own = normalized ? "normalized" : "effect";
  fill("colour", options, tint === series ? own : tint.key);
}

/** @type {(run: Run) => void} */
function showPrompts(run) {
  const several = run.frames.size > 1;
  const options = [...run.frames.values()].flatMap(({ label, items }) => {
    const prompts = items.at(-1)?.tokens ?? [];
    return prompts.map((tokens, i) => {
      /** @type {Choice} */
      const choice = [`${i}:${label}`, `${i + 1}. ${showPrompt(tokens)}`, several ? label : ""];
      return choice;
    });
  });
  const shown = shownPrompt(run);
  fill("prompt", options, shown && `${shown.prompt}:${shown.label}`);
}

/** @type {(view: MeasuredView) => void} */
function showPositions({ run }) {
  const all = run.positionSeries();
  const series = shownPositionSeries(run);
  fill(
    "position-series",
    all.map((one) => seriesOption(one, all)),
    series?.key,
  );
  /** @type {Choice[]} */
  const views = [];
  if (series?.dims.length === 3) {
    views.push(["picked", "heads of the picked layer"], ["layers", "layers"]);
    for (const layer of series.rows) views.push([String(layer), `heads of layer ${layer}`]);
  }
  fill("position-view", views, state.positionView ?? "picked");
  const pairs = series ? fittingPairs(run, series) : [];
  /** @type {Choice[]} */
  const options = pairs.map(({ number, clean }, i) => [String(i), `${number + 1}. ${showPrompt(clean, 36)}`]);
  fill("pair", options, String(Math.min(state.pair, Math.max(0, pairs.length - 1))));
}

/** @type {(view: View) => void} */
function showTransport({ steps, step, source }) {
  const slider = inputById("slider");
  slider.max = String(Math.max(0, steps.length - 1));
  slider.value = String(step === null ? 0 : indexAt(steps, step));
  slider.setAttribute("aria-valuetext", step === null ? "no step yet" : `step ${formatStep(step)}`);
  slider.disabled = steps.length < 2;
  const last = document.createElement("span");
  last.textContent = steps.length ? ` / ${formatStep(steps[steps.length - 1])}` : "";
  byId("step").replaceChildren(step === null ? "no step yet" : `step ${formatStep(step)}`, last);
  byId("follow").hidden = !source.live || state.step === null;
  buttonById("play").disabled = slider.disabled;
}

/** @type {(id: string, value: string) => void} */
function showPressed(id, value) {
  for (const button of byId(id).querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.value === value));
  }
}
