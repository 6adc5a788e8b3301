// @ts-check
// Which heads changed most since a chosen step, strongest first.

import { clamp, fit, line } from "./canvas.js";
import { makeCard } from "./card.js";
import { colourOf, palette } from "./colours.js";
import { isSet } from "./decode.js";
import { byId, inputById } from "./dom.js";
import { showEvents } from "./events.js";
import {
  formatInterval,
  formatNumber,
  formatSigned,
  formatStep,
  quantity,
  titleCase,
  withUnit,
} from "./format.js";
import { placeColumns, unitColumn } from "./heads.js";
import { pick, state } from "./state.js";
import { indexAt } from "./steps.js";
import { isMeasured, lookUp } from "./view.js";

/** @import { MeasuredView, PairedChange, Place, Row, View } from "./types.js" */

/**
 * A head's change; `marked` says whether it is more than noise, null where that is not known.
 * @typedef {{cell: number, place: Place, then: number, now: number, change: number, half: number,
 *   marked: boolean | null}} Change
 */

/**
 * A row of the table and what is in it.
 * @typedef {{root: HTMLTableRowElement, button: HTMLButtonElement, bar: HTMLCanvasElement,
 *   place: Place}} TableRow
 */

const MOST_CHANGES = 12;
const card = makeCard("changes");
const body = /** @type {HTMLTableSectionElement} */ (card.root.querySelector("tbody"));
/** @type {TableRow[]} */
const tableRows = [];

export const changes = {
  ...card,
  view: lookUp(),
  draw,
  sheet,
  pictures: () => tableRows.map((row) => row.bar),
};

/** @type {(view: View) => void} */
function draw(view) {
  changes.view = view;
  const known = isMeasured(view) && view.index >= 0;
  byId("changes-of").textContent = titleCase(view.series?.dims[1] ?? "layer");
  changes.say(known ? null : "Changes appear with the second pass of a probe.");
  if (!known) return;
  const found = changesSince(view);
  const from = view.series.steps[sinceIndex(view)];
  const field = inputById("since");
  if (document.activeElement !== field) field.value = String(from);
  const steps = `step ${formatStep(from)} to ${formatStep(view.series.steps[view.index])}`;
  const shown = withUnit(quantity(view.series, view.normalized));
  byId("changes-caption").textContent = `${shown}, ${steps}`;
  const lines = noiseLines(view).map((text) => {
    return Object.assign(document.createElement("span"), { textContent: text });
  });
  byId("changes-key").replaceChildren(...lines);
  showEvents(view.series, `${view.run.name}|${view.run.version}`);
  const reach = Math.max(...found.map((row) => Math.abs(row.change)), 1e-12);
  while (tableRows.length < found.length) tableRows.push(makeRow());
  for (const row of tableRows.splice(found.length)) row.root.remove();
  for (const [i, change] of found.entries()) fillRow(tableRows[i], view, change, reach);
}

/** @type {(view: MeasuredView) => number} */
function sinceIndex({ series }) {
  return state.since === null ? 0 : Math.max(0, indexAt(series.steps, state.since));
}

/**
 * The heads with the largest change, each with then, now, and the half-width of the change's interval.
 * @type {(view: MeasuredView) => Change[]}
 */
function changesSince(view) {
  const { series, index, normalized } = view;
  const from = sinceIndex(view);
  const paired = pairedChange(view);
  const all = Array.from({ length: series.cells }, (_, cell) => {
    const [then, now] = [series.value(from, cell, normalized), series.value(index, cell, normalized)];
    return { cell, then, now, change: paired ? paired.mean[cell] : now - then };
  });
  const known = all.filter((row) => Number.isFinite(row.change));
  known.sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  return known.slice(0, MOST_CHANGES).map((row) => ({
    ...row,
    place: series.placeOf(row.cell),
    half: paired
      ? paired.half[row.cell]
      : Math.hypot(series.half(from, row.cell, normalized), series.half(index, row.cell, normalized)),
    marked: paired && isSet(paired.marks, row.cell),
  }));
}

/**
 * The change that the table is of, pair by pair; null where it is not known, as for normalised effects.
 * @type {(view: MeasuredView) => PairedChange | null}
 */
function pairedChange(view) {
  return view.normalized ? null : view.series.change(sinceIndex(view), view.index);
}

/** How many changes are more than noise, or why that isn't said. @type {(view: MeasuredView) => string[]} */
function noiseLines(view) {
  const { series, index, normalized } = view;
  const paired = pairedChange(view);
  if (paired) {
    const count = [...Array(series.cells).keys()].filter((cell) => isSet(paired.marks, cell)).length;
    const marks = `• more than noise, pair by pair: ${count} of ${series.cells} at a false discovery rate of 5%`;
    return [marks, `${formatNumber(paired.byChance)} by chance if nothing had changed`];
  }
  if (!series.findings.changes.size || normalized || sinceIndex(view) === index) return [];
  return ["Pair by pair, passes are compared with the first, the one before and the last one."];
}

/** @type {() => TableRow} */
function makeRow() {
  const root = body.insertRow();
  for (let i = 0; i < 5; i++) root.insertCell();
  for (const i of [1, 2, 4]) root.cells[i].className = "number";
  const button = document.createElement("button");
  button.type = "button";
  const bar = document.createElement("canvas");
  root.cells[0].append(button);
  root.cells[3].append(bar);
  /** @type {TableRow} */
  const row = { root, button, bar, place: [0, 0] };
  button.addEventListener("click", (event) => pick(row.place, event.shiftKey));
  return row;
}

/** @type {(row: TableRow, view: MeasuredView, change: Change, reach: number) => void} */
function fillRow(row, { series }, { place, then, now, change, half, marked }, reach) {
  const { root, button, bar } = row;
  row.place = place;
  button.textContent = series.nameOf(place);
  button.setAttribute("aria-label", `Pick ${series.nameOf(place)}`);
  root.cells[1].textContent = formatNumber(then);
  root.cells[2].textContent = formatNumber(now);
  root.cells[4].textContent = `${marked ? "• " : ""}${formatSigned(change)}`;
  root.classList.toggle("noise", marked === false);
  const how = marked === null ? "the two passes taken as independent" : "the same pairs compared one by one";
  const interval = `Change ${formatInterval(change, half)} (95%, ${how})`;
  root.title = Number.isFinite(half) ? interval : "";
  drawChange(bar, change, half, reach);
}

/**
 * A bar from 0, with the interval as a whisker.
 * @type {(canvas: HTMLCanvasElement, change: number, half: number, reach: number) => void}
 */
function drawChange(canvas, change, half, reach) {
  const [width, height] = [innerWidth < 600 ? 64 : 120, 18];
  const context = fit(canvas, width, height);
  /** @type {(value: number) => number} */
  const at = (value) => width / 2 + (clamp(value / reach, -1, 1) * (width - 8)) / 2;
  const scale = { diverging: true, centre: 0, reach: 1, low: 0, high: 1 };
  context.fillStyle = colourOf(0.75 * Math.sign(change), scale);
  context.fillRect(Math.min(at(0), at(change)), 4, Math.abs(at(change) - at(0)), height - 8);
  context.strokeStyle = palette.strong;
  line(context, width / 2 + 0.5, 0, width / 2 + 0.5, height);
  context.strokeStyle = palette.text;
  if (Number.isFinite(half)) line(context, at(change - half), height / 2, at(change + half), height / 2);
}

/** @type {() => Row[]} */
function sheet() {
  const { view } = changes;
  if (!isMeasured(view)) return [];
  const { series } = view;
  const header = [
    "layer",
    unitColumn(series),
    "then",
    "now",
    "change",
    "interval_95_half",
    "more_than_noise",
  ];
  const rows = changesSince(view).map(({ cell, then, now, change, half, marked }) => [
    ...placeColumns(series, cell),
    then,
    now,
    change,
    half,
    marked === null ? "" : Number(marked),
  ]);
  return [header, ...rows];
}
