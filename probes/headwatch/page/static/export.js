// @ts-check
// Save what a card shows: its numbers as CSV, its picture as PNG or SVG.

import { inside } from "./dom.js";
import { heads } from "./heads.js";
import { pngOf, svgOf } from "./picture.js";

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
  if (sheet) add("CSV", () => save(card, "csv", new Blob([toCsv(sheet())], { type: "text/csv" })));
  if (!pictures) return;
  add("PNG", () => {
    pngOf(card, pictures()).toBlob((blob) => {
      if (blob) save(card, "png", blob);
    });
  });
  add("SVG", () => save(card, "svg", new Blob([svgOf(card, pictures())], { type: "image/svg+xml" })));
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

/**
 * Hand a file to the reader, named by its card and step.
 * @type {(card: DrawnCard, ending: string, blob: Blob) => void}
 */
function save(card, ending, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `headwatch-${card.id}-step${heads.view.step}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
