// @ts-check
// What the reader does in the bar, in the cards' controls and on the keyboard, and what it changes in `state`.

import { clamp } from "./canvas.js";
import { palette, setTheme } from "./colours.js";
import { buttonById, byId, inputById, selectById } from "./dom.js";
import { heads } from "./heads.js";
import { changed, goTo, linkOf, state } from "./state.js";
import { indexAt } from "./steps.js";
import { lookUp } from "./view.js";

const PLAY_MS = 90;
let playing = 0;

/** @type {(count: number) => void} */
function stepBy(count) {
  const { steps, step } = lookUp(heads.view.source); // not the view last drawn: keys may come faster than frames
  if (step === null) return;
  goTo(steps[clamp(indexAt(steps, step) + count, 0, steps.length - 1)]);
}

/** @type {(on: boolean) => void} */
function setPlaying(on) {
  clearInterval(playing);
  playing = on ? setInterval(playOn, PLAY_MS) : 0;
  const play = byId("play");
  play.textContent = on ? "❚❚" : "▶";
  play.setAttribute("aria-label", on ? "Pause" : "Play");
  play.setAttribute("aria-pressed", String(on));
}

function playOn() {
  const { steps, step } = heads.view;
  if (step === steps.at(-1)) setPlaying(false);
  else stepBy(1);
}

/** Play from where the slider is; from the start where it is at the end. */
function togglePlay() {
  const { steps, step } = heads.view;
  if (!playing && steps.length && step === steps.at(-1)) goTo(steps[0]);
  setPlaying(!playing);
}

/** @type {(id: string, set: (value: string) => void) => void} */
function bindSelect(id, set) {
  const select = selectById(id);
  select.addEventListener("change", () => {
    set(select.value);
    changed();
  });
}

/** @type {(id: string, set: (value: string) => void) => void} */
function bindSegments(id, set) {
  byId(id).addEventListener("click", ({ target }) => {
    const value = target instanceof HTMLElement ? target.dataset.value : undefined;
    if (value === undefined) return;
    set(value);
    changed();
  });
}

export function bindControls() {
  bindChoices();
  bindTransport();
  bindButtons();
  document.addEventListener("keydown", onKey);
}

/**
 * @typedef {"other" | "series" | "colour" | "scale" | "scalar" | "axis" | "position" | "positionView"} Choosable
 */

/** @type {[id: string, key: Choosable][]} */
const SELECTS = [
  ["series", "series"],
  ["colour", "colour"],
  ["scale", "scale"],
  ["scalar", "scalar"],
  ["axis", "axis"],
  ["position-series", "position"],
  ["position-view", "positionView"],
];

function bindChoices() {
  for (const [id, key] of SELECTS) {
    bindSelect(id, (value) => {
      state[key] = value;
    });
  }
  bindSelect("run", (value) => Object.assign(state, { run: value, step: null }));
  bindSelect("other", (value) => {
    state.other = value || null;
  });
  bindSelect("pair", (value) => {
    state.pair = Number(value);
  });
  bindSelect("prompt", (value) => {
    const at = value.indexOf(":");
    state.prompt = [value.slice(at + 1), Number(value.slice(0, at))];
  });
  bindSelect("since", (value) => {
    state.since = value === "" ? null : Number(value);
  });
  bindSegments("attention-view", (value) => {
    state.view = value;
  });
  bindSegments("compare-view", (value) => {
    state.compare = value;
  });
}

function bindTransport() {
  const slider = inputById("slider");
  slider.addEventListener("input", () => {
    setPlaying(false);
    goTo(heads.view.steps[Number(slider.value)]);
  });
  byId("play").addEventListener("click", togglePlay);
  byId("back").addEventListener("click", () => stepBy(-1));
  byId("forward").addEventListener("click", () => stepBy(1));
  byId("follow").addEventListener("click", () => {
    state.step = null;
    changed();
  });
  byId("since-here").addEventListener("click", () => {
    state.since = heads.view.step;
    changed();
  });
}

function bindButtons() {
  byId("theme").addEventListener("click", () => {
    state.theme = palette.theme === "dark" ? "light" : "dark";
    useTheme();
    changed();
  });
  const keys = /** @type {HTMLDialogElement} */ (byId("keys"));
  byId("help").addEventListener("click", () => keys.showModal());
  byId("link").addEventListener("click", copyLink);
}

async function copyLink() {
  const { step, picks } = heads.view;
  history.replaceState(null, "", `#${linkOf({ ...state, step, picks })}`);
  const button = buttonById("link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  setTimeout(() => {
    button.textContent = "Copy link";
  }, 1600);
}

/** What keys do anywhere but in a field of their own. @type {Record<string, (shift: boolean) => void>} */
const KEYS = {
  ArrowLeft: (shift) => stepBy(shift ? -10 : -1),
  ArrowRight: (shift) => stepBy(shift ? 10 : 1),
  Home: () => stepBy(Number.NEGATIVE_INFINITY),
  End: () => stepBy(Number.POSITIVE_INFINITY),
  " ": togglePlay,
  Escape: () => {
    state.picks = heads.view.picks.slice(0, 1);
    changed();
  },
};

/** @type {(event: KeyboardEvent) => void} */
function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !(target instanceof Element)) return;
  if (target.closest("select, input, dialog[open]")) return;
  if (key === " " && target.closest("button, a, summary")) return;
  if (!(key in KEYS)) return;
  KEYS[key](event.shiftKey);
  event.preventDefault();
}

/** Show the chosen theme, or the system's. */
export function useTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  setTheme(state.theme ?? system);
  byId("theme").setAttribute("aria-pressed", String(palette.theme === "dark"));
}
