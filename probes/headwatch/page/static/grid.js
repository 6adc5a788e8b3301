// @ts-check
// A map of cells, rows by columns: drawing, finding the cell under the pointer, moving with the arrow keys.

import { clamp, font, line, pointerOn, write } from "./canvas.js";
import { colourOf, inkOn, palette } from "./colours.js";
import { refresh } from "./redraw.js";

/** @import { Cell, CellLook, Context, Grid, MapActions, Scale } from "./types.js" */

const LONG_PRESS_MS = 450;

/** @type {Record<string, [down: number, right: number]>} */
export const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * How large a map may be: `most` pixels a cell, `tallest` pixels in all.
 * @typedef {{rows: number, columns: number, left: number, top: number, width: number, most?: number,
 *   tallest?: number}} GridWish
 */

/** Where the cells of a map are. @type {(wish: GridWish) => Grid} */
export function gridAt({ rows, columns, left, top, width, most = 40, tallest = 620 }) {
  const fitting = Math.min(most, Math.floor((width - left) / columns), Math.floor(tallest / rows));
  const cell = Math.max(3, fitting);
  return { rows, columns, left, top, cell, right: left + cell * columns, bottom: top + cell * rows };
}

/**
 * Row and column under a point, or null.
 * @type {(grid: Grid, point: [x: number, y: number]) => Cell | null}
 */
function cellAt(grid, [x, y]) {
  const column = Math.floor((x - grid.left) / grid.cell);
  const row = Math.floor((y - grid.top) / grid.cell);
  return row >= 0 && row < grid.rows && column >= 0 && column < grid.columns ? [row, column] : null;
}

/**
 * Fill the cells: their values on a scale, with a dot or ring where they stand out, hatched where they are suspect,
 * crossed out where they are no numbers.
 * @type {(context: Context, grid: Grid, scale: Scale, look: (row: number, column: number) => CellLook) => void}
 */
export function drawCells(context, grid, scale, look) {
  const side = grid.cell - (grid.cell > 8 ? 1 : 0);
  for (let row = 0; row < grid.rows; row++) {
    for (let column = 0; column < grid.columns; column++) {
      const { value, marked, estimated, suspect } = look(row, column);
      const [x, y] = [grid.left + column * grid.cell, grid.top + row * grid.cell];
      const ink = inkOn(value, scale);
      context.fillStyle = colourOf(value, scale);
      context.fillRect(x, y, side, side);
      if (!Number.isFinite(value)) drawCross(context, x, y, side);
      if (suspect) drawHatch(context, x, y, side, ink);
      if (!marked) continue;
      if (estimated) drawRing(context, x + side / 2, y + side / 2, grid.cell, ink, colourOf(value, scale));
      else drawDot(context, x + side / 2, y + side / 2, grid.cell, ink);
    }
  }
}

/** @type {(context: Context, x: number, y: number, cell: number, colour: string) => void} */
function drawDot(context, x, y, cell, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, clamp(cell / 11, 0.9, 2.4), 0, 2 * Math.PI);
  context.fill();
}

/** @type {(context: Context, x: number, y: number, cell: number, ink: string, paper: string) => void} */
function drawRing(context, x, y, cell, ink, paper) {
  context.fillStyle = paper;
  context.strokeStyle = ink;
  context.lineWidth = clamp(cell / 24, 0.7, 1.4);
  context.beginPath();
  context.arc(x, y, clamp(cell / 9, 1.2, 3.2), 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

/** A cross over a cell that is no number. @type {(context: Context, x: number, y: number, side: number) => void} */
function drawCross(context, x, y, side) {
  const [near, far] = [side / 4, side - side / 4];
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  line(context, x + near, y + near, x + far, y + far);
  line(context, x + near, y + far, x + far, y + near);
}

/**
 * Three diagonal lines over a cell.
 * @type {(context: Context, x: number, y: number, side: number, colour: string) => void}
 */
function drawHatch(context, x, y, side, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.globalAlpha = 0.45;
  line(context, x, y + side / 2, x + side / 2, y);
  line(context, x, y + side, x + side, y);
  line(context, x + side / 2, y + side, x + side, y + side / 2);
  context.globalAlpha = 1;
}

/**
 * A frame around a cell, with a halo so that it reads on any colour.
 * @type {(context: Context, grid: Grid, cell: Cell, colour: string, width?: number) => void}
 */
export function drawFrame(context, grid, [row, column], colour, width = 2.5) {
  const [x, y] = [grid.left + column * grid.cell, grid.top + row * grid.cell];
  const strokes = [
    { style: palette.card, wide: width + 2 },
    { style: colour, wide: width },
  ];
  for (const { style, wide } of strokes) {
    context.strokeStyle = style;
    context.lineWidth = wide;
    context.strokeRect(x - 0.5, y - 0.5, grid.cell, grid.cell);
  }
}

/**
 * Every how many cells a number fits between its neighbours.
 * @type {(grid: Grid, labels: number[]) => number}
 */
export function labelStride(grid, labels) {
  const longest = Math.max(...labels.map((label) => String(label).length));
  return Math.max(1, Math.ceil((longest > 2 ? 8 * longest : 15) / grid.cell));
}

/**
 * What the rows and the columns are, thinned out where they would touch.
 * @type {(context: Context, grid: Grid, rows: number[], columns: number[]) => void}
 */
function drawNumbers(context, grid, rows, columns) {
  const down = Math.max(1, Math.ceil(15 / grid.cell));
  for (let row = 0; row < grid.rows; row += down) {
    write(context, rows[row], grid.left - 6, grid.top + (row + 0.5) * grid.cell, { align: "right" });
  }
  const across = labelStride(grid, columns);
  for (let column = 0; column < grid.columns; column += across) {
    const x = grid.left + (column + 0.5) * grid.cell;
    write(context, columns[column], x, grid.top - 9, { align: "center" });
  }
}

/**
 * The axes' names and numbers: layers down, `across` along the top.
 * @type {(context: Context, grid: Grid, rows: number[], columns: number[], across: string) => void}
 */
export function drawAxes(context, grid, rows, columns, across) {
  drawNumbers(context, grid, rows, columns);
  const style = font(11, palette.sans, 600);
  write(context, across, grid.left, grid.top - 23, { style });
  context.save();
  context.translate(grid.left - 29, grid.top);
  context.rotate(-Math.PI / 2);
  write(context, "Layer", 0, 0, { align: "right", style });
  context.restore();
}

/**
 * Mouse, touch and keyboard on a map; `grids()` gives the maps on the canvas.
 * @type {(canvas: HTMLCanvasElement, grids: () => Grid[], on: MapActions) => void}
 */
export function listen(canvas, grids, on) {
  /** @type {(event: MouseEvent) => Cell | null} */
  const find = (event) => {
    const point = pointerOn(canvas, event);
    const cells = grids().map((grid) => cellAt(grid, point));
    return cells.find((cell) => cell !== null) ?? null;
  };
  listenToPointer(canvas, find, on);
  listenToKeys(canvas, grids, on);
}

/** @type {(canvas: HTMLCanvasElement, find: (event: MouseEvent) => Cell | null, on: MapActions) => void} */
function listenToPointer(canvas, find, on) {
  let pressed = 0;
  let touched = false;
  canvas.addEventListener("pointerdown", (event) => {
    pressed = event.timeStamp;
    touched = event.pointerType === "touch";
  });
  canvas.addEventListener("click", (event) => {
    const cell = find(event);
    const long = touched && event.timeStamp - pressed > LONG_PRESS_MS;
    if (cell) on.choose(cell, event.shiftKey || long);
  });
  canvas.addEventListener("pointermove", (event) => on.hover(find(event), event));
  canvas.addEventListener("pointerleave", (event) => on.hover(null, event));
  canvas.addEventListener("contextmenu", (event) => {
    if (touched) event.preventDefault();
  });
}

/** @type {(canvas: HTMLCanvasElement, grids: () => Grid[], on: MapActions) => void} */
function listenToKeys(canvas, grids, on) {
  canvas.addEventListener("keydown", (event) => {
    const [grid] = grids();
    if (!grid) return;
    const [row, column] = on.cursor();
    if (event.key in ARROWS) {
      const [down, right] = ARROWS[event.key];
      const next = [clamp(row + down, 0, grid.rows - 1), clamp(column + right, 0, grid.columns - 1)];
      on.move([next[0], next[1]], event.shiftKey);
    } else if (event.key === "Enter") on.choose([row, column], event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("focus", () => on.move(on.cursor(), true));
  canvas.addEventListener("blur", refresh);
}
