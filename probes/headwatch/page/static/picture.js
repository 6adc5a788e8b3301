// @ts-check
// What a card shows as one picture, under its title and caption: its drawings, its table and its headings where they
// stand on the page. As PNG the drawings are copied; as SVG they are drawn again by the same functions.

import { clipped, fit, font, recorded, write } from "./canvas.js";
import { palette } from "./colours.js";
import { seriesTitle } from "./format.js";
import { heads } from "./heads.js";
import { SvgContext } from "./svg_context.js";

/** @import { Context, DrawnCard } from "./types.js" */

const MARGIN = 16;
const HEADER = 62;

/**
 * Where a card's drawings are, and how large the picture of them is.
 * @typedef {{left: number, top: number, width: number, height: number}} Frame
 */

/** @type {(card: DrawnCard, drawings: HTMLCanvasElement[]) => HTMLCanvasElement} */
export function pngOf(card, drawings) {
  const frame = frameOf(card, drawings);
  const canvas = document.createElement("canvas");
  const context = fit(canvas, frame.width, frame.height, Math.max(2, window.devicePixelRatio || 1));
  writeWords(context, card, frame);
  for (const drawing of drawings) {
    const box = drawing.getBoundingClientRect();
    context.drawImage(drawing, box.left - frame.left, box.top - frame.top, box.width, box.height);
  }
  return canvas;
}

/** A whole SVG document. @type {(card: DrawnCard, drawings: HTMLCanvasElement[]) => string} */
export function svgOf(card, drawings) {
  const frame = frameOf(card, drawings);
  const context = new SvgContext();
  writeWords(context, card, frame);
  for (const [drawing, drawn] of drawAgain(card, drawings)) {
    const box = drawing.getBoundingClientRect();
    context.place(drawn, box.left - frame.left, box.top - frame.top);
  }
  return context.document(frame.width, frame.height, `${card.title()}, ${captionOf(card)}`);
}

/** @type {(card: DrawnCard, drawings: HTMLCanvasElement[]) => Map<HTMLCanvasElement, SvgContext>} */
function drawAgain(card, drawings) {
  const drawn = new Map(drawings.map((drawing) => [drawing, new SvgContext()]));
  for (const [drawing, context] of drawn) recorded.set(drawing, context);
  card.key = null; // nothing changed, but all of it is to be drawn
  card.draw(heads.view);
  recorded.clear();
  return drawn;
}

/** @type {(card: DrawnCard, drawings: HTMLCanvasElement[]) => Frame} */
function frameOf({ root }, drawings) {
  const boxes = [...drawings, ...root.querySelectorAll(WORDS)].map((shown) => shown.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left)) - MARGIN;
  const top = Math.min(...boxes.map((box) => box.top)) - HEADER;
  const width = Math.max(...boxes.map((box) => box.right)) - left + MARGIN;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top + MARGIN;
  return { left, top, width: Math.ceil(width), height: Math.ceil(height) };
}

/**
 * The paper, the title, the caption, and what stands around the drawings.
 * @type {(context: Context, card: DrawnCard, frame: Frame) => void}
 */
function writeWords(context, card, frame) {
  context.fillStyle = palette.card;
  context.fillRect(0, 0, frame.width, frame.height);
  write(context, card.title(), MARGIN, 22, { colour: palette.text, style: font(15, palette.sans, 600) });
  const caption = clipped(context, captionOf(card), frame.width - 2 * MARGIN, font(12));
  write(context, caption, MARGIN, 44, { style: font(12) });
  for (const part of card.root.querySelectorAll(WORDS)) writePart(context, part, frame);
}

/** The parts of a card that are words and not drawn. */
const WORDS = "table, .tile h3, .key";

/** @type {(context: Context, part: Element, frame: Frame) => void} */
function writePart(context, part, frame) {
  for (const mark of part.querySelectorAll(".swatch")) {
    const box = mark.getBoundingClientRect();
    context.fillStyle = getComputedStyle(mark).color;
    context.fillRect(box.left - frame.left, box.top - frame.top, box.width, box.height);
  }
  const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) writeNode(context, node, frame);
}

/** @type {(context: Context, node: Node, frame: Frame) => void} */
function writeNode(context, node, frame) {
  const text = node.textContent?.trim();
  if (!text || !node.parentElement) return;
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  const { color, fontSize, fontFamily, fontWeight, textAlign } = getComputedStyle(node.parentElement);
  const right = textAlign === "right";
  write(context, text, (right ? box.right : box.left) - frame.left, (box.top + box.bottom) / 2 - frame.top, {
    align: right ? "right" : "left",
    colour: color,
    style: font(Number.parseFloat(fontSize), fontFamily, Number(fontWeight)),
  });
}

/** @type {(card: DrawnCard) => string} */
function captionOf(card) {
  const { run, series, picks } = heads.view;
  const picked = series
    ? [`${seriesTitle(series)}: ${picks.map((head) => series.nameOf(head)).join(", ")}`]
    : [];
  const caption = card.root.querySelector(".caption")?.textContent ?? picked.join("");
  return `${run?.name} · ${caption}`;
}
