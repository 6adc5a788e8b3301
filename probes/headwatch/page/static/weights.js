// @ts-check
// Attention weights as numbers and as pictures.

import { contextOf } from "./canvas.js";
import { LEVELS, palette } from "./colours.js";
import { triangle } from "./runs.js";

/**
 * Whether a query's weights are no numbers: no softmax has two weights of 1, or a single one of 0.
 * @type {(weights: Uint8Array, query: number) => boolean}
 */
function isMissing(weights, query) {
  const start = triangle(query);
  return query ? weights[start] === 255 && weights[start + 1] === 255 : weights[0] === 0;
}

/**
 * Whether any query of a head has weights that are no numbers.
 * @type {(weights: Uint8Array, tokens: number) => boolean}
 */
export function hasMissing(weights, tokens) {
  return [...Array(tokens).keys()].some((query) => isMissing(weights, query));
}

/**
 * The weight of a key for a query, 0 to 1; NaN where the model has diverged.
 * @type {(weights: Uint8Array, query: number, key: number) => number}
 */
export function weightOf(weights, query, key) {
  if (key > query) return 0;
  return isMissing(weights, query) ? Number.NaN : weights[triangle(query) + key] / 255;
}

/** @type {(weights: Uint8Array, query: number) => number} */
export function strongestKey(weights, query) {
  let best = 0;
  for (let key = 1; key <= query; key++) {
    if (weightOf(weights, query, key) > weightOf(weights, query, best)) best = key;
  }
  return best;
}

/** @type {(weights: Uint8Array, key: number, tokens: number) => number} */
export function strongestQuery(weights, key, tokens) {
  let best = key;
  for (let query = key; query < tokens; query++) {
    if (weightOf(weights, query, key) > weightOf(weights, best, key)) best = query;
  }
  return best;
}

/**
 * An image of `columns` maps a row, each `side` pixels square: a pixel is the largest weight that
 * falls on it, and one of a query whose weights are no numbers is grey.
 * @type {(maps: Uint8Array[], tokens: number, columns: number, side: number) => HTMLCanvasElement}
 */
export function weightImage(maps, tokens, columns, side) {
  const canvas = document.createElement("canvas");
  canvas.width = columns * side;
  canvas.height = Math.ceil(maps.length / columns) * side;
  const context = contextOf(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = [...palette.sequential, palette.noNumber].map(
    ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r,
  );
  const places = Array.from({ length: tokens }, (_, token) => Math.floor((token * side) / tokens));
  const level = new Uint16Array(pixels.length);
  for (const [i, weights] of maps.entries()) {
    const start = Math.floor(i / columns) * side * canvas.width + (i % columns) * side;
    let at = 0;
    for (let query = 0; query < tokens; query++) {
      const row = start + places[query] * canvas.width;
      const missing = isMissing(weights, query);
      for (let key = 0; key <= query; key++, at++) {
        const pixel = row + places[key];
        const own = missing ? LEVELS : weights[at];
        if (own >= level[pixel]) {
          level[pixel] = own;
          pixels[pixel] = colours[own];
        }
      }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
