"use strict";
// A map of cells, rows by columns: drawing, finding the cell under the pointer, moving with the arrow keys.

const LONG_PRESS_MS = 450;

/** Where the cells of a map are. */
function gridAt({ rows, columns, left, top, width, most = 40, tallest = 620 }) {
  const cell = Math.max(3, Math.min(most, Math.floor((width - left) / columns), Math.floor(tallest / rows)));
  return { rows, columns, left, top, cell, right: left + cell * columns, bottom: top + cell * rows };
}

/** Row and column under a point, or null. */
function cellAt(grid, [x, y]) {
  const column = Math.floor((x - grid.left) / grid.cell);
  const row = Math.floor((y - grid.top) / grid.cell);
  return row >= 0 && row < grid.rows && column >= 0 && column < grid.columns ? [row, column] : null;
}

/** Fill the cells: `value(row, column)` on a scale, `marked(row, column)` with a dot. */
function drawCells(context, grid, scale, value, marked) {
  const gap = grid.cell > 8 ? 1 : 0;
  for (let row = 0; row < grid.rows; row++) {
    for (let column = 0; column < grid.columns; column++) {
      const shown = value(row, column);
      const [x, y] = [grid.left + column * grid.cell, grid.top + row * grid.cell];
      context.fillStyle = colourOf(shown, scale);
      context.fillRect(x, y, grid.cell - gap, grid.cell - gap);
      if (marked(row, column)) drawDot(context, x + (grid.cell - gap) / 2, y + (grid.cell - gap) / 2, grid.cell, inkOn(shown, scale));
    }
  }
}

function drawDot(context, x, y, cell, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, Math.max(0.9, Math.min(2.4, cell / 11)), 0, 2 * Math.PI);
  context.fill();
}

/** A frame around a cell, with a halo so that it reads on any colour. */
function drawFrame(context, grid, [row, column], colour, width = 2.5) {
  const [x, y] = [grid.left + column * grid.cell, grid.top + row * grid.cell];
  for (const [stroke, line] of [[palette.card, width + 2], [colour, width]]) {
    context.strokeStyle = stroke;
    context.lineWidth = line;
    context.strokeRect(x - 0.5, y - 0.5, grid.cell, grid.cell);
  }
}

/** Row and column numbers, thinned out where they would touch. */
function drawNumbers(context, grid) {
  const every = Math.max(1, Math.ceil(15 / grid.cell));
  for (let row = 0; row < grid.rows; row += every) {
    write(context, row, grid.left - 6, grid.top + (row + 0.5) * grid.cell, { align: "right" });
  }
  for (let column = 0; column < grid.columns; column += every) {
    write(context, column, grid.left + (column + 0.5) * grid.cell, grid.top - 9, { align: "center" });
  }
}

/** The axes' names: layers down, `across` along the top. */
function drawAxes(context, grid, across) {
  drawNumbers(context, grid);
  write(context, across, grid.left, grid.top - 23, { style: font(11, palette.sans, 600) });
  context.save();
  context.translate(7, grid.top);
  context.rotate(-Math.PI / 2);
  write(context, "Layer", 0, 0, { align: "right", style: font(11, palette.sans, 600) });
  context.restore();
}

/**
 * Mouse, touch and keyboard on a map. `grids()` gives the maps on the canvas, `on` what to do:
 * choose(cell, compare), hover(cell or null, event), say(cell).
 */
function listen(canvas, grids, on) {
  const find = (event) => grids().map((grid) => cellAt(grid, pointerOn(canvas, event))).find(Boolean) ?? null;
  let pressed = 0;
  canvas.addEventListener("pointerdown", (event) => { pressed = event.timeStamp; });
  canvas.addEventListener("click", (event) => {
    const cell = find(event);
    const long = event.pointerType === "touch" && event.timeStamp - pressed > LONG_PRESS_MS;
    if (cell) on.choose(cell, event.shiftKey || long);
  });
  canvas.addEventListener("pointermove", (event) => on.hover(find(event), event));
  canvas.addEventListener("pointerleave", (event) => on.hover(null, event));
  canvas.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault(); });
  listenToKeys(canvas, grids, on);
}

function listenToKeys(canvas, grids, on) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const [grid] = grids();
    if (!grid) return;
    const [row, column] = on.cursor();
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      const cell = [clamp(row + down, 0, grid.rows - 1), clamp(column + right, 0, grid.columns - 1)];
      on.move(cell, event.shiftKey);
    } else if (event.key === "Enter") on.choose([row, column], event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("focus", () => on.move(on.cursor(), true));
  canvas.addEventListener("blur", () => refresh());
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
