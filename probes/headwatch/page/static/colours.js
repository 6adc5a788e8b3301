// @ts-check
// Colours: a diverging scale (blue, neutral, vermilion) and a sequential one, each in a light and a dark form.
// Both keep their order in lightness and are told apart by the common forms of colour blindness.

/** @import { Colour, Scale } from "./types.js" */

/** @type {Record<string, {diverging: string[], sequential: string[]}>} */
const STOPS = {
  light: {
    diverging: ["#0b3d91", "#3b7cc4", "#9cc3e6", "#f3f4f5", "#f2b48c", "#d1622b", "#8c2d04"],
    sequential: ["#ffffff", "#d6e6f4", "#9ac8e0", "#4a97c9", "#1764ab", "#08306b"],
  },
  dark: {
    diverging: ["#8ec5ff", "#3f8ad8", "#23507f", "#1f252d", "#7d4526", "#dd7a3c", "#ffc796"],
    sequential: ["#161b22", "#17385c", "#1d5f97", "#3f92cf", "#8cc6f0", "#e9f6ff"],
  },
};

// Okabe and Ito's colours (2008), darkened or lightened until each reads on the surface.
/** @type {Record<string, string[]>} */
const CATEGORIES = {
  light: ["#c8500a", "#0b65b0", "#00805e", "#a8478a", "#8a6500", "#3d4a57"],
  dark: ["#ff9a55", "#62b4ff", "#3fcf9f", "#ee97cc", "#efc94c", "#c4ced8"],
};
export const LEVELS = 256;

/** The colours of the theme that is shown; `setTheme` fills them in. */
export const palette = {
  theme: "light",
  diverging: /** @type {Colour[]} */ ([]),
  sequential: /** @type {Colour[]} */ ([]),
  divergingText: /** @type {string[]} */ ([]),
  sequentialText: /** @type {string[]} */ ([]),
  categories: CATEGORIES.light,
  missing: "",
  noNumber: /** @type {Colour} */ ([0, 0, 0]),
  text: "",
  muted: "",
  line: "",
  strong: "",
  card: "",
  accent: "",
  soft: "",
  sans: "",
  mono: "",
};

/** @type {(hex: string) => Colour} */
function channels(hex) {
  return [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
}

/** A table of LEVELS colours through the stops. @type {(stops: string[]) => Colour[]} */
function ramp(stops) {
  const colours = stops.map(channels);
  return Array.from({ length: LEVELS }, (_, level) => {
    const place = (level / (LEVELS - 1)) * (colours.length - 1);
    const i = Math.min(Math.floor(place), colours.length - 2);
    return colours[i].map((from, c) => Math.round(from + (colours[i + 1][c] - from) * (place - i)));
  });
}

/** @type {(colour: Colour) => string} */
function rgb(colour) {
  return `rgb(${colour[0]},${colour[1]},${colour[2]})`;
}

/**
 * Make the tables of one theme; what reads the page's own colours reads them here, once.
 * @type {(name: string) => void}
 */
export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  const style = getComputedStyle(document.documentElement);
  /** @type {(key: string) => string} */
  const variable = (key) => style.getPropertyValue(`--${key}`).trim();
  const diverging = ramp(STOPS[name].diverging);
  const sequential = ramp(STOPS[name].sequential);
  Object.assign(palette, {
    theme: name,
    diverging,
    sequential,
    categories: CATEGORIES[name],
    divergingText: diverging.map(rgb),
    sequentialText: sequential.map(rgb),
    noNumber: channels(name === "dark" ? "#6b7580" : "#a3a9b0"),
    missing: name === "dark" ? "#2b333d" : "#e3e6ea",
    text: variable("text"),
    muted: variable("muted"),
    line: variable("line"),
    strong: variable("strong-line"),
    card: variable("card"),
    accent: variable("accent"),
    soft: variable("accent-soft"),
    sans: variable("sans"),
    mono: variable("mono"),
  });
}

/** Which level of a table a value has. @type {(value: number, scale: Scale) => number} */
function levelOf(value, scale) {
  const part = scale.diverging
    ? 0.5 + (value - scale.centre) / (2 * scale.reach)
    : (value - scale.low) / (scale.high - scale.low);
  return Math.max(0, Math.min(LEVELS - 1, Math.round(part * (LEVELS - 1))));
}

/** @type {(value: number, scale: Scale) => string} */
export function colourOf(value, scale) {
  if (!Number.isFinite(value)) return palette.missing;
  return (scale.diverging ? palette.divergingText : palette.sequentialText)[levelOf(value, scale)];
}

/**
 * Black or white, whichever reads on the colour of a value.
 * @type {(value: number, scale: Scale) => string}
 */
export function inkOn(value, scale) {
  if (!Number.isFinite(value)) return palette.muted;
  const [r, g, b] = (scale.diverging ? palette.diverging : palette.sequential)[levelOf(value, scale)];
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#14181d" : "#ffffff";
}
