// @ts-check
// Helpers to draw on a canvas at the screen's resolution.

import { LEVELS, palette } from "./colours.js";
import { formatNumber } from "./format.js";

/** @import { Context, Scale } from "./types.js" */
/** @import { SvgContext } from "./svg_context.js" */

/** Canvases of which a vector picture is being made: what would be drawn on them is recorded instead. */
export const recorded = /** @type {Map<HTMLCanvasElement, SvgContext>} */ (new Map());

const TITLE_GAP = 14;
const SHORTEST_BAR = 160;

/**
 * Give a canvas a size in CSS pixels, cleared, and return its context.
 * @type {(canvas: HTMLCanvasElement, width: number, height: number, ratio?: number) => Context}
 */
export function fit(canvas, width, height, ratio = window.devicePixelRatio || 1) {
  const vectors = recorded.get(canvas);
  if (vectors) return vectors.cleared();
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = contextOf(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
export function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @type {(size: number, family?: string, weight?: number) => string} */
export function font(size, family = palette.sans, weight = 400) {
  return `${weight} ${size}px ${family}`;
}

/**
 * How a text is written; `align` and `baseline` as a canvas has them.
 * @typedef {{align?: CanvasTextAlign, baseline?: CanvasTextBaseline, colour?: string, style?: string}} TextStyle
 */

/** @type {(context: Context, text: string | number, x: number, y: number, style?: TextStyle) => void} */
export function write(context, text, x, y, { align, baseline, colour, style } = {}) {
  context.font = style ?? font(11);
  context.fillStyle = colour ?? palette.muted;
  context.textAlign = align ?? "left";
  context.textBaseline = baseline ?? "middle";
  context.fillText(String(text), x, y);
}

/**
 * Text cut to a width, with an ellipsis.
 * @type {(context: Context, text: string, width: number, style: string) => string}
 */
export function clipped(context, text, width, style) {
  context.font = style;
  if (context.measureText(text).width <= width) return text;
  const letters = Array.from(text);
  while (letters.length && context.measureText(`${letters.join("")}…`).width > width) letters.pop();
  return `${letters.join("")}…`;
}

/** @type {(context: Context, x1: number, y1: number, x2: number, y2: number) => void} */
export function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

/** @type {(context: Context, text: string, style: string) => number} */
function widthOf(context, text, style) {
  context.font = style;
  return context.measureText(text).width;
}

/**
 * A horizontal bar of a scale with numbers at its ends and its middle, and its title beside it or, where there is no
 * room, below.
 * @type {(canvas: HTMLCanvasElement, width: number, scale: Scale, title: string) => void}
 */
export function drawLegend(canvas, width, scale, title) {
  const room = title ? width - TITLE_GAP - widthOf(contextOf(canvas), title, font(11)) : width;
  const beside = room >= SHORTEST_BAR;
  const context = fit(canvas, width, beside ? 36 : 52);
  const bar = Math.floor(Math.min(beside ? room : width, 300));
  drawBar(context, bar, scale);
  if (beside) write(context, title, bar + TITLE_GAP, 5);
  else write(context, clipped(context, title, width, font(11)), 0, 38);
}

/** A scale's bar, `bar` pixels long, and its numbers. @type {(context: Context, bar: number, scale: Scale) => void} */
export function drawBar(context, bar, scale) {
  const colours = scale.diverging ? palette.divergingText : palette.sequentialText;
  for (let x = 0; x < bar; x++) {
    context.fillStyle = colours[Math.round((x / (bar - 1)) * (LEVELS - 1))];
    context.fillRect(x, 0, 1.5, 10);
  }
  context.strokeStyle = palette.line;
  context.strokeRect(0.5, 0.5, bar - 1, 9);
  const low = scale.diverging ? scale.centre - scale.reach : scale.low;
  const high = scale.diverging ? scale.centre + scale.reach : scale.high;
  write(context, formatNumber(low), 0, 20);
  write(context, formatNumber((low + high) / 2), bar / 2, 20, { align: "center" });
  write(context, formatNumber(high), bar, 20, { align: "right" });
}

/**
 * Where the pointer is on an element, in CSS pixels.
 * @type {(element: Element, event: MouseEvent) => [x: number, y: number]}
 */
export function pointerOn(element, event) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/** @type {(value: number, low: number, high: number) => number} */
export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
