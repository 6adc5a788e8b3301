"use strict";
// Save what a card shows: its numbers as CSV, its drawing as PNG.

/** Buttons in the header of each card that has something to save. */
function addTools(card) {
  const tools = card.root.querySelector(".tools");
  const add = (text, save) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", `Save ${card.title()} as ${text}`);
    button.addEventListener("click", () => { if (card.empty.hidden) save(); });
    tools.append(button);
  };
  if (card.sheet) add("CSV", () => saveText(`${card.id}.csv`, toCsv(card.sheet())));
  if (card.pictures) add("PNG", () => savePicture(card));
}

/** Rows as CSV. Text that a spreadsheet would take for a formula gets an apostrophe. */
function toCsv(rows) {
  return rows.map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function csvCell(value) {
  if (typeof value === "number") return Number.isFinite(value) ? String(Number(value.toPrecision(5))) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveText(name, text) {
  save(name, new Blob([text], { type: "text/csv" }));
}

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `headwatch-${name}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The card's canvases where they stand, under its title and caption. */
function savePicture(card) {
  const ratio = window.devicePixelRatio || 1;
  const pictures = card.pictures();
  const boxes = pictures.map((picture) => picture.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left + 32;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top + 78;
  const canvas = document.createElement("canvas");
  const context = fit(canvas, width, height, Math.max(2, ratio));
  context.fillStyle = palette.card;
  context.fillRect(0, 0, width, height);
  write(context, card.title(), 16, 22, { colour: palette.text, style: font(15, palette.sans, 600) });
  write(context, clipped(context, captionOf(card), width - 32, font(12)), 16, 44, { style: font(12) });
  pictures.forEach((picture, i) => context.drawImage(picture, 16 + boxes[i].left - left, 62 + boxes[i].top - top, boxes[i].width, boxes[i].height));
  canvas.toBlob((blob) => save(`${card.id}.png`, blob));
}

function captionOf(card) {
  const { view } = heads;
  const caption = card.root.querySelector(".caption")?.textContent ?? `${seriesTitle(view.series)}: ${view.picks.map((head) => headName(head)).join(", ")}`;
  return `${view.run.name} · ${caption}`;
}
