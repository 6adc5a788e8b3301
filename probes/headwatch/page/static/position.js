"use strict";
// Effects by position: tokens down (clean and corrupted side by side, the ones that differ marked), layers or heads across.

const position = makeCard("position");
position.canvas = position.stage.querySelector("canvas");
position.at = [0, 0];
position.grids = [];

function shownPositionSeries(run) {
  const all = run ? run.positionSeries() : [];
  return all.find((series) => series.key === state.position) ?? all[0] ?? null;
}

/** What the columns are: {name, columns, head(column), cell(row, column)} for the chosen view. */
function positionColumns(series, view, index) {
  if (series.dims.length === 2) {
    return { name: "Layer", columns: series.shape[0], head: () => null, cell: (row, column) => column * series.shape[1] + row };
  }
  const [layers, count, length] = series.shape;
  const at = (layer, head, row) => (layer * count + head) * length + row;
  const layer = chosenLayer(series, view);
  if (layer !== null) return { name: `Head of layer ${layer}`, columns: count, head: (row, column) => [layer, column], cell: (row, column) => at(layer, column, row) };
  const strongest = (row, column) => {
    let best = 0;
    const size = (head) => Math.abs(series.points[index].mean[at(column, head, row)]) || 0;
    for (let head = 1; head < count; head++) if (size(head) > size(best)) best = head;
    return best;
  };
  return { name: "Layer (its strongest head)", columns: layers, head: (row, column) => [column, strongest(row, column)], cell: (row, column) => at(column, strongest(row, column), row) };
}

/** The layer whose heads are shown; null for the strongest head of each layer. */
function chosenLayer(series, view) {
  if (state.positionView === "layers") return null;
  if (state.positionView === null || state.positionView === "picked") return Math.min(view.picks[0]?.[0] ?? 0, series.shape[0] - 1);
  return Math.min(Number(state.positionView) || 0, series.shape[0] - 1);
}

/** The prompt pairs that fit the series: of its length, its own before the run's. */
function fittingPairs(run, series) {
  const entry = run.prompts.get(series.label) ?? run.prompts.get("") ?? [...run.prompts.values()][0];
  if (!entry) return [];
  const length = series.shape.at(-1);
  return entry.clean.map((clean, i) => ({ clean, corrupted: entry.corrupted[i], position: entry.position[i], number: i }))
    .filter((pair) => pair.clean.length === length);
}

position.draw = (view) => {
  position.view = view;
  const series = shownPositionSeries(view.run);
  const index = series && view.step !== null ? indexAt(series.steps, view.step) : -1;
  position.say(!series ? "No effects by position in this run. Pass by_position=True to ActivationPatching to see which token matters where."
    : index < 0 ? `Not measured by position yet; the first pass is at step ${formatStep(series.steps[0])}.` : null);
  if (index < 0 || !position.size.width) return;
  const pairs = fittingPairs(view.run, series);
  const pair = pairs[Math.min(state.pair, pairs.length - 1)] ?? null;
  const key = [series.key, series.steps[index], view.run.name, view.run.version, theme, position.size.width, state.pair, state.positionView, state.scale,
    state.colour, view.picks.join(";"), document.activeElement === position.canvas ? position.at : ""].join("|");
  if (key === position.key) return;
  position.key = key;
  position.shown = { series, index, pair, normalized: state.colour === "normalized" && series.canNormalize, across: positionColumns(series, view, index) };
  drawPosition(view, position.shown);
};

function drawPosition(view, shown) {
  const { series, index, pair, normalized, across } = shown;
  const rows = series.shape.at(-1);
  const scale = series.scale(normalized, state.scale === "step" ? index : null);
  const label = Math.min(104, Math.max(56, (position.size.width - 30 - across.columns * 16) / 2));
  const left = pair ? Math.round(34 + 2 * label) : 34;
  const grid = gridAt({ rows, columns: across.columns, left, top: 40, width: position.size.width, most: 26, tallest: Infinity });
  grid.cell = Math.max(grid.cell, 12);
  Object.assign(grid, { right: left + grid.cell * across.columns, bottom: 40 + grid.cell * rows });
  position.grids = [grid];
  const context = fit(position.canvas, Math.max(position.size.width, grid.right + 1), grid.bottom + 44);
  drawPositionHeader(context, grid, across.name, Boolean(pair), label);
  drawPairTokens(context, grid, pair, label);
  drawCells(context, grid, scale, (row, column) => series.value(index, across.cell(row, column), normalized), (row, column) => series.marked(index, across.cell(row, column)));
  if (document.activeElement === position.canvas) drawFrame(context, grid, position.at, palette.text, 1);
  drawPositionLegend(context, grid, scale, withUnit(quantity(series, normalized)));
  position.explain(shown);
}

function drawPositionHeader(context, grid, name, paired, label) {
  const strong = { style: font(11, palette.sans, 600) };
  if (paired) write(context, "Clean", 32, 31, strong);
  if (paired) write(context, "Corrupted", 32 + label, 31, strong);
  write(context, name, grid.left, 12, strong);
  const every = Math.max(1, Math.ceil(15 / grid.cell));
  for (let column = 0; column < grid.columns; column += every) {
    write(context, column, grid.left + (column + 0.5) * grid.cell, 31, { align: "center" });
  }
}

/** Both prompts down the left; a token that differs stands on a tint, the place where the metric is read has an arrow. */
function drawPairTokens(context, grid, pair, label) {
  const plain = font(11, palette.mono);
  for (let row = 0; row < grid.rows; row++) {
    const y = grid.top + (row + 0.5) * grid.cell;
    write(context, row, 24, y, { align: "right" });
    if (!pair) continue;
    const differs = pair.clean[row] !== pair.corrupted[row];
    if (differs) {
      context.fillStyle = palette.soft;
      context.fillRect(28, y - grid.cell / 2, grid.left - 34, grid.cell - 1);
    }
    const style = { colour: differs ? palette.accent : palette.muted, style: differs ? font(11, palette.mono, 700) : plain };
    write(context, clipped(context, showToken(pair.clean[row]), label - 10, style.style), 32, y, style);
    write(context, clipped(context, showToken(pair.corrupted[row]), label - 10, style.style), 32 + label, y, style);
    if (row === pair.position) write(context, "▸", 0, y, { colour: palette.accent });
  }
}

function drawPositionLegend(context, grid, scale, title) {
  const strip = document.createElement("canvas");
  drawLegend(strip, Math.min(300, Math.max(180, position.size.width - grid.left)), scale, "");
  const ratio = window.devicePixelRatio || 1;
  const left = Math.max(0, Math.min(grid.left, position.size.width - strip.width / ratio));
  context.drawImage(strip, left, grid.bottom + 12, strip.width / ratio, strip.height / ratio);
  if (left > 120) write(context, clipped(context, title, left - 12, font(11)), left - 10, grid.bottom + 18, { align: "right" });
}

position.explain = ({ series, index, pair }) => {
  const thinned = series.total > series.steps.length ? `, ${series.steps.length} of ${series.total} passes kept` : "";
  const marks = pair ? "; tinted tokens differ, ▸ is where the metric is read" : "";
  document.getElementById("position-caption").textContent = `Step ${formatStep(series.steps[index])}, mean over ${series.points[index].n} pairs${thinned}${marks}`;
};

function describePosition([row, column]) {
  const { series, index, pair, normalized, across } = position.shown;
  const cell = across.cell(row, column);
  const head = across.head(row, column);
  const tokens = pair ? [`${showToken(pair.clean[row])} / ${showToken(pair.corrupted[row])}`] : [];
  return [`${head ? headName(head, HEAD_DIMS) : `Layer ${column}`}, position ${row}`, ...tokens,
    `${withUnit(quantity(series, normalized))}: ${formatInterval(series.value(index, cell, normalized), series.half(index, cell, normalized))}`];
}

function pickAt(cell, compare) {
  position.at = cell;
  const head = position.shown.across.head(...cell);
  if (head) pick(head, compare); else refresh();
}

listen(position.canvas, () => position.grids, {
  choose: pickAt,
  hover: (cell, event) => { if (cell) showTip(event, describePosition(cell)); else hideTip(); },
  cursor: () => position.at,
  move: (cell) => { position.at = cell; if (position.shown) announce(describePosition(cell).join(", ")); refresh(); },
});

position.sheet = () => {
  const { series, index, pair, normalized, across } = position.shown;
  const rows = [["series", "step", "position", "clean_token", "corrupted_token", "layer", "head", quantity(series, normalized).name, "interval_95_half"]];
  for (let row = 0; row < series.shape.at(-1); row++) {
    for (let column = 0; column < across.columns; column++) {
      const cell = across.cell(row, column);
      const [layer, head] = across.head(row, column) ?? [column, ""];
      rows.push([series.label, series.steps[index], row, pair?.clean[row] ?? "", pair?.corrupted[row] ?? "", layer, head, series.value(index, cell, normalized), series.half(index, cell, normalized)]);
    }
  }
  return rows;
};
position.pictures = () => [position.canvas];
