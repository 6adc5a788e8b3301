// @ts-check
// Save what a card shows: its numbers as CSV, its drawing as PNG.

import { clipped, fit, font, write } from "./canvas.js";
import { palette } from "./colours.js";
import { inside } from "./dom.js";
import { seriesTitle } from "./format.js";
import { heads } from "./heads.js";

/** @import { DrawnCard, Row } from "./types.js" */

/** Buttons in the header of each card that has something to save. @type {(card: DrawnCard) => void} */
export function addTools(card) {
  const tools = inside(card.root, ".tools");
  /** @type {(text: string, save: () => void) => void} */
  const add = (text, save) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", `Save ${card.title()} as ${text}`);
    button.addEventListener("click", () => {
      if (card.empty.hidden) save();
    });
    tools.append(button);
  };
  const { sheet, pictures } = card;
  if (sheet) add("CSV", () => saveText(`${card.id}.csv`, toCsv(sheet())));
  if (pictures) add("PNG", () => savePicture(card, pictures()));
}

/**
 * Rows as CSV. Text that a spreadsheet would take for a formula gets an apostrophe.
 * @type {(rows: Row[]) => string}
 */
function toCsv(rows) {
  return rows.map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}

/** @type {(value: string | number) => string} */
export function csvCell(value) {
  if (typeof value === "number") return Number.isFinite(value) ? String(Number(value.toPrecision(5))) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @type {(name: string, text: string) => void} */
function saveText(name, text) {
  save(name, new Blob([text], { type: "text/csv" }));
}

/** @type {(name: string, blob: Blob) => void} */
function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `headwatch-${name}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * A card's canvases where they stand, under its title and caption.
 * @type {(card: DrawnCard, pictures: HTMLCanvasElement[]) => void}
 */
function savePicture(card, pictures) {
  const boxes = pictures.map((picture) => picture.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left + 32;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top + 78;
  const canvas = document.createElement("canvas");
  const context = fit(canvas, width, height, Math.max(2, window.devicePixelRatio || 1));
  context.fillStyle = palette.card;
  context.fillRect(0, 0, width, height);
  write(context, card.title(), 16, 22, { colour: palette.text, style: font(15, palette.sans, 600) });
  write(context, clipped(context, captionOf(card), width - 32, font(12)), 16, 44, { style: font(12) });
  for (const [i, picture] of pictures.entries()) {
    const box = boxes[i];
    context.drawImage(picture, 16 + box.left - left, 62 + box.top - top, box.width, box.height);
  }
  canvas.toBlob((blob) => {
    if (blob) save(`${card.id}.png`, blob);
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
