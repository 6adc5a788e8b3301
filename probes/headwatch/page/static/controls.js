"use strict";
// The bar and the cards' selects: from what the reader does to `state`, and from the runs to the choices there are.

const control = (id) => document.getElementById(id);
const PLAY_MS = 90;
let playing = 0;
let choicesKey = "";

/** Fill a select with [value, text] options, grouped where a group is given, only where they differ from what it has. */
function fill(select, options, value) {
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...grouped(options));
  }
  select.value = value ?? "";
  select.closest(".field").hidden = options.length < 2;
}

function grouped(options) {
  const groups = new Map();
  for (const [value, text, group = ""] of options) {
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(new Option(text, value));
  }
  return [...groups].flatMap(([name, items]) => {
    if (!name) return items;
    const group = document.createElement("optgroup");
    group.label = name;
    group.append(...items);
    return [group];
  });
}

const GROUPS = { ablation: "Ablation", patching: "Patching", gradients: "Gradients", scores: "Head scores" };

function seriesOption(series, all) {
  const title = seriesTitle(series);
  const same = all.filter((other) => seriesTitle(other) === title).length > 1;
  return [series.key, same ? `${title} · ${series.label}` : title, GROUPS[series.probe] ?? titleCase(series.probe)];
}

/** Bring every control in line with the view. */
function showControls(view) {
  const names = view.source.runs.map((run) => [run.name, run.name]);
  fill(control("run"), names, view.run?.name);
  fill(control("other"), [["", "nothing"], ...names.filter(([name]) => name !== view.run?.name)], view.other?.name ?? state.other);
  const chosen = { ...state, step: null, since: null, theme: null };
  const key = JSON.stringify([chosen, view.run?.name, view.run?.version, view.series?.key, view.picks, view.normalized]);
  if (view.series && key !== choicesKey) showChoices(view);
  choicesKey = key;
  showTransport(view);
  showPressed("attention-view", attentionView(view.picks, view.other ? 2 : 1));
  showPressed("compare-view", state.compare);
  control("scale").value = state.scale;
  control("axis").value = state.axis;
}

function showChoices(view) {
  const { run, series } = view;
  const all = run.headSeries();
  fill(control("series"), all.map((one) => seriesOption(one, all)), series.key);
  const scores = all.filter((one) => one.isScore && one !== series && one.shape.join() === series.shape.join());
  const normal = series.canNormalize ? [["normalized", "normalised effect"]] : [];
  const colours = [["effect", series.isScore ? "score" : "effect"], ...normal, ...scores.map((one) => [one.key, titleCase(one.metric), "Head scores"])];
  fill(control("colour"), colours, view.normalized ? "normalized" : view.tint !== series ? view.tint.key : "effect");
  const scalars = [...run.scalars.keys()].map((name) => [name, name]);
  fill(control("scalar"), [...scalars, ["baseline", `baseline ${metricName(series.metric)}`]], state.scalar ?? defaultScalar(run) ?? "baseline");
  showPrompts(run);
  showPositions(view);
}

function showPrompts(run) {
  const several = run.frames.size > 1;
  const options = [...run.frames.values()].flatMap(({ label, items }) => items.at(-1).tokens
    .map((tokens, i) => [`${i}:${label}`, `${i + 1}. ${showPrompt(tokens)}`, several ? label : ""]));
  const shown = shownPrompt(run);
  fill(control("prompt"), options, shown && `${shown.prompt}:${shown.label}`);
}

function showPositions(view) {
  const all = view.run.positionSeries();
  const series = shownPositionSeries(view.run);
  fill(control("position-series"), all.map((one) => seriesOption(one, all)), series?.key);
  const layers = series?.dims.length === 3 ? Array.from({ length: series.shape[0] }, (_, i) => [String(i), `heads of layer ${i}`]) : [];
  const views = layers.length ? [["picked", "heads of the picked layer"], ["layers", "layers"], ...layers] : [];
  fill(control("position-view"), views, state.positionView ?? "picked");
  const pairs = series ? fittingPairs(view.run, series) : [];
  fill(control("pair"), pairs.map((pair, i) => [String(i), `${pair.number + 1}. ${showPrompt(pair.clean, 36)}`]), String(Math.min(state.pair, Math.max(0, pairs.length - 1))));
}

function showTransport(view) {
  const slider = control("slider");
  slider.max = Math.max(0, view.steps.length - 1);
  slider.value = view.step === null ? 0 : indexAt(view.steps, view.step);
  slider.setAttribute("aria-valuetext", view.step === null ? "no step yet" : `step ${view.step}`);
  slider.disabled = view.steps.length < 2;
  const last = document.createElement("span");
  last.textContent = view.steps.length ? ` / ${formatStep(view.steps.at(-1))}` : "";
  control("step").replaceChildren(view.step === null ? "no step yet" : `step ${formatStep(view.step)}`, last);
  control("follow").hidden = !view.source.live || state.step === null;
  control("play").disabled = slider.disabled;
}

function showPressed(id, value) {
  for (const button of control(id).querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === value));
}

/** Go to a step; the newest is followed again only in a report, where nothing newer comes. */
function goTo(step) {
  if (state.step === step) return;
  state.step = step;
  changed();
}

function stepBy(count) {
  const { steps, step } = lookUp(source.runs); // not the view last drawn: keys may come faster than frames
  if (!steps.length) return;
  goTo(steps[clamp(indexAt(steps, step) + count, 0, steps.length - 1)]);
}

function setPlaying(on) {
  clearInterval(playing);
  playing = on ? setInterval(playOn, PLAY_MS) : 0;
  control("play").textContent = on ? "❚❚" : "▶";
  control("play").setAttribute("aria-label", on ? "Pause" : "Play");
  control("play").setAttribute("aria-pressed", String(on));
}

function playOn() {
  const { steps, step } = heads.view;
  if (step === steps.at(-1)) setPlaying(false); else stepBy(1);
}

/** Play from where the slider is; from the start where it is at the end. */
function togglePlay() {
  const { steps, step } = heads.view;
  if (!playing && step === steps.at(-1)) goTo(steps[0]);
  setPlaying(!playing);
}

function bindSelect(id, set) {
  control(id).addEventListener("change", (event) => { set(event.target.value); changed(); });
}

function bindSegments(id, set) {
  control(id).addEventListener("click", (event) => {
    if (event.target.dataset.value) { set(event.target.dataset.value); changed(); }
  });
}

function bindControls() {
  bindSelect("run", (value) => Object.assign(state, { run: value, step: null }));
  bindSelect("other", (value) => { state.other = value || null; });
  bindSelect("series", (value) => { state.series = value; });
  bindSelect("colour", (value) => { state.colour = value; });
  bindSelect("scale", (value) => { state.scale = value; });
  bindSelect("scalar", (value) => { state.scalar = value; });
  bindSelect("axis", (value) => { state.axis = value; });
  bindSelect("position-series", (value) => { state.position = value; });
  bindSelect("position-view", (value) => { state.positionView = value; });
  bindSelect("pair", (value) => { state.pair = Number(value); });
  bindSelect("prompt", (value) => { const [index, ...label] = value.split(":"); state.prompt = [label.join(":"), Number(index)]; });
  bindSelect("since", (value) => { state.since = value === "" ? null : Number(value); });
  bindSegments("attention-view", (value) => { state.view = value; });
  bindSegments("compare-view", (value) => { state.compare = value; });
  control("since-here").addEventListener("click", () => { state.since = heads.view.step; changed(); });
  bindTransport();
  bindButtons();
}

function bindTransport() {
  control("slider").addEventListener("input", (event) => { setPlaying(false); goTo(heads.view.steps[Number(event.target.value)]); });
  control("play").addEventListener("click", togglePlay);
  control("back").addEventListener("click", () => stepBy(-1));
  control("forward").addEventListener("click", () => stepBy(1));
  control("follow").addEventListener("click", () => { state.step = null; changed(); });
  document.addEventListener("keydown", onKey);
}

function bindButtons() {
  control("theme").addEventListener("click", () => { state.theme = theme === "dark" ? "light" : "dark"; useTheme(); changed(); });
  control("help").addEventListener("click", () => control("keys").showModal());
  control("link").addEventListener("click", copyLink);
}

async function copyLink() {
  history.replaceState(null, "", `#${linkOf({ ...state, step: heads.view.step, picks: heads.view.picks })}`);
  const button = control("link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  setTimeout(() => { button.textContent = "Copy link"; }, 1600);
}

/** Keys that work anywhere but in a field of their own. */
function onKey(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("select, input, dialog[open]")) return;
  if (event.key === " " && target.closest("button, a, summary")) return;
  const actions = {
    ArrowLeft: () => stepBy(event.shiftKey ? -10 : -1),
    ArrowRight: () => stepBy(event.shiftKey ? 10 : 1),
    Home: () => stepBy(-Infinity),
    End: () => stepBy(Infinity),
    " ": togglePlay,
    Escape: () => { state.picks = heads.view.picks.slice(0, 1); changed(); },
  };
  if (!(event.key in actions)) return;
  actions[event.key]();
  event.preventDefault();
}

function useTheme() {
  setTheme(state.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  control("theme").setAttribute("aria-pressed", String(theme === "dark"));
}

/** What a live page says of its server. */
function showLive(trouble) {
  const live = control("live");
  live.hidden = false;
  live.classList.toggle("lost", trouble !== null);
  live.textContent = trouble === null ? "Live" : "No answer, trying again";
}
