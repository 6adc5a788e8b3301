// @ts-check
// Attention weights as numbers and as pictures.

import { contextOf } from "./canvas.js";
import { palette } from "./colours.js";
import { triangle } from "./runs.js";

/**
 * The weight of a key for a query, 0 to 1.
 * @type {(weights: Uint8Array, query: number, key: number) => number}
 */
export function weightOf(weights, query, key) {
  return key > query ? 0 : weights[triangle(query) + key] / 255;
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
 * falls on it.
 * @type {(maps: Uint8Array[], tokens: number, columns: number, side: number) => HTMLCanvasElement}
 */
export function weightImage(maps, tokens, columns, side) {
  const canvas = document.createElement("canvas");
  canvas.width = columns * side;
  canvas.height = Math.ceil(maps.length / columns) * side;
  const context = contextOf(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = palette.sequential.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
  const places = Array.from({ length: tokens }, (_, token) => Math.floor((token * side) / tokens));
  const level = new Uint8Array(pixels.length);
  for (const [i, weights] of maps.entries()) {
    const start = Math.floor(i / columns) * side * canvas.width + (i % columns) * side;
    let at = 0;
    for (let query = 0; query < tokens; query++) {
      const row = start + places[query] * canvas.width;
      for (let key = 0; key <= query; key++, at++) {
        const pixel = row + places[key];
        if (weights[at] >= level[pixel]) {
          level[pixel] = weights[at];
          pixels[pixel] = colours[weights[at]];
        }
      }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
