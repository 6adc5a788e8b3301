"use strict";
// Which heads changed most since a chosen step, strongest first.

const MOST_CHANGES = 12;
const changes = makeCard("changes");
const changesBody = changes.root.querySelector("tbody");

changes.draw = (view) => {
  changes.view = view;
  const rows = view.index >= 0 ? changesSince(view) : null;
  changes.say(rows ? null : "Changes appear with the second pass of a probe.");
  if (!rows) return;
  const from = view.series.steps[sinceIndex(view)];
  const field = document.getElementById("since");
  if (document.activeElement !== field) field.value = from;
  document.getElementById("changes-caption").textContent =
    `${withUnit(quantity(view.series, view.normalized))}, step ${formatStep(from)} to ${formatStep(view.series.steps[view.index])}`;
  const reach = Math.max(...rows.map((row) => Math.abs(row.change)), 1e-12);
  while (changesBody.rows.length < rows.length) changesBody.append(changeRow());
  while (changesBody.rows.length > rows.length) changesBody.lastChild.remove();
  rows.forEach((row, i) => fillChange(changesBody.rows[i], row, reach));
};

function sinceIndex(view) {
  return state.since === null ? 0 : Math.max(0, indexAt(view.series.steps, state.since));
}

/** The heads with the largest change, each with then, now, and the half-width of the change's interval. */
function changesSince(view) {
  const { series, index, normalized } = view;
  const from = sinceIndex(view);
  const columns = series.shape[1] ?? 1;
  const rows = Array.from({ length: series.cells }, (_, cell) => {
    const [then, now] = [series.value(from, cell, normalized), series.value(index, cell, normalized)];
    return { cell, head: [Math.floor(cell / columns), cell % columns], then, now, change: now - then };
  });
  const known = rows.filter((row) => Number.isFinite(row.change));
  known.sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  return known.slice(0, MOST_CHANGES).map((row) => ({
    ...row, half: Math.hypot(series.half(from, row.cell, normalized), series.half(index, row.cell, normalized)),
  }));
}

function changeRow() {
  const row = document.createElement("tr");
  for (let i = 0; i < 5; i++) row.insertCell();
  for (const i of [1, 2, 4]) row.cells[i].className = "number";
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", (event) => pick(row.head, event.shiftKey));
  row.cells[0].append(button);
  row.cells[3].append(document.createElement("canvas"));
  return row;
}

function fillChange(row, { head, then, now, change, half }, reach) {
  row.head = head;
  const button = row.cells[0].firstChild;
  button.textContent = headName(head);
  button.setAttribute("aria-label", `Pick ${headName(head)}`);
  row.cells[1].textContent = formatNumber(then);
  row.cells[2].textContent = formatNumber(now);
  row.cells[4].textContent = formatSigned(change);
  row.title = Number.isFinite(half) ? `Change ${formatInterval(change, half)} (95%, the two passes taken as independent)` : "";
  drawChange(row.cells[3].firstChild, change, half, reach);
}

/** A bar from 0, with the interval as a whisker. */
function drawChange(canvas, change, half, reach) {
  const [width, height] = [innerWidth < 600 ? 64 : 120, 18];
  const context = fit(canvas, width, height);
  const at = (value) => width / 2 + (clamp(value / reach, -1, 1) * (width - 8)) / 2;
  const scale = { diverging: true, centre: 0, reach: 1 };
  context.fillStyle = colourOf(0.75 * Math.sign(change), scale);
  context.fillRect(Math.min(at(0), at(change)), 4, Math.abs(at(change) - at(0)), height - 8);
  context.strokeStyle = palette.strong;
  line(context, width / 2 + 0.5, 0, width / 2 + 0.5, height);
  context.strokeStyle = palette.text;
  if (Number.isFinite(half)) line(context, at(change - half), height / 2, at(change + half), height / 2);
}

changes.sheet = () => {
  const header = ["layer", "head", "then", "now", "change", "interval_95_half"];
  return [header, ...changesSince(changes.view).map(({ head, then, now, change, half }) => [...head, then, now, change, half])];
};
