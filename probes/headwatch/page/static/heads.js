"use strict";
// The layer-by-head map: one cell a head, its effect (or a score) as colour, a dot where the interval excludes 0.

const heads = makeCard("heads");
heads.canvas = heads.stage.querySelector("canvas");
heads.grids = [];
heads.at = [0, 0];

/** The maps to draw: one, two side by side, or their difference. */
function headMaps(view) {
  const { tint, tintIndex, normalized, run, other } = view;
  const tinted = tint === view.series;
  const own = { name: run.name, run, series: tint, index: tintIndex, value: (cell) => tint.value(tintIndex, cell, normalized), marked: (cell) => view.index >= 0 && view.series.marked(view.index, cell) };
  if (!view.otherSeries || view.otherIndex < 0 || !tinted) return [own];
  const { otherSeries, otherIndex } = view;
  const theirs = { name: other.name, run: other, series: otherSeries, index: otherIndex, value: (cell) => otherSeries.value(otherIndex, cell, normalized), marked: (cell) => otherSeries.marked(otherIndex, cell) };
  return state.compare === "difference" ? [differenceMap(view, own, theirs)] : [own, theirs];
}

/** This run minus the other; its variance is the sum of both. */
function differenceMap(view, own, theirs) {
  const half = (cell) => Math.hypot(
    view.series.half(view.index, cell, view.normalized), view.otherSeries.half(view.otherIndex, cell, view.normalized));
  const value = (cell) => own.value(cell) - theirs.value(cell);
  return { ...own, name: `${own.name} − ${theirs.name}`, difference: true, value, marked: (cell) => Math.abs(value(cell)) > half(cell) };
}

function headScale(view, maps) {
  const index = state.scale === "step" ? view.tintIndex : null;
  const scale = view.tint.scale(view.normalized, index);
  if (maps[0].difference) return reachOf(maps[0], view.tint.cells);
  if (maps.length < 2) return scale;
  const second = maps[1].series.scale(view.normalized, state.scale === "step" ? maps[1].index : null);
  return { ...scale, reach: Math.max(scale.reach, second.reach), high: Math.max(scale.high, second.high) };
}

function reachOf(map, cells) {
  let reach = 0;
  for (let cell = 0; cell < cells; cell++) reach = Math.max(reach, Math.abs(map.value(cell)) || 0);
  return { diverging: true, centre: 0, reach: reach || 1 };
}

heads.draw = (view) => {
  heads.view = view;
  document.getElementById("compare-view").hidden = !view.otherSeries;
  if (!heads.sayWhy(view)) return;
  const maps = headMaps(view);
  const scale = headScale(view, maps);
  heads.layOut(view, maps);
  const context = fit(heads.canvas, heads.size.width, heads.grids.at(-1).bottom + 3);
  maps.forEach((map, i) => drawHeadMap(context, heads.grids[i], map, scale, view));
  drawLegend(document.getElementById("legend"), heads.size.width, scale, withUnit(quantity(view.tint, view.normalized)));
  heads.explain(view, maps);
};

/** Say what is missing; true where there is something to draw. */
heads.sayWhy = (view) => {
  const message = !view.run ? "No run yet. This page fills in by itself once a run writes its first line."
    : !view.series ? "Nothing measured per head yet. Add HeadAblation, ActivationPatching or GradientImportance to the trainer's callbacks."
      : view.tintIndex < 0 ? `Not measured yet at step ${formatStep(view.step)}; the first pass is at step ${formatStep(view.tint.steps[0])}.` : null;
  heads.say(message);
  return message === null && heads.size.width > 0;
};

heads.layOut = (view, maps) => {
  const [rows, columns = 1] = view.tint.shape;
  const width = maps.length > 1 ? Math.floor((heads.size.width - 18) / 2) : heads.size.width;
  const top = maps.length > 1 || maps[0].difference ? 50 : 34;
  heads.grids = maps.map((_, i) => {
    const grid = gridAt({ rows, columns, left: 36, top, width, most: 60 });
    const shift = i * (width + 18);
    return { ...grid, left: grid.left + shift, right: grid.right + shift };
  });
};

function drawHeadMap(context, grid, map, scale, view) {
  const cellOf = (row, column) => row * grid.columns + column;
  if (grid.top > 34) write(context, clipped(context, map.name, grid.right - grid.left, font(12, palette.sans, 600)), grid.left, 7, { colour: palette.text, style: font(12, palette.sans, 600) });
  context.save();
  context.translate(grid.left - 36, 0);
  drawAxes(context, { ...grid, left: 36 }, titleCase(view.series.dims[1] ?? "whole layer"));
  context.restore();
  drawCells(context, grid, scale, (row, column) => map.value(cellOf(row, column)), (row, column) => map.marked(cellOf(row, column)));
  view.picks.forEach((head, i) => drawFrame(context, grid, head, palette.categories[i]));
  if (document.activeElement === heads.canvas) drawFrame(context, grid, heads.at, palette.text, 1);
}

heads.explain = (view, maps) => {
  const title = seriesTitle(view.tint);
  document.getElementById("heads-caption").textContent = `${title}, step ${formatStep(view.tint.steps[view.tintIndex])}${maps.length > 1 ? `, and step ${formatStep(maps[1].series.steps[maps[1].index])}` : ""}`;
  const count = countMarked(maps[0], view.tint.cells);
  const chance = Math.round(view.tint.cells * 0.05);
  document.getElementById("heads-hint").textContent = view.series.points[view.index]?.stderr
    ? `• 95% interval excludes 0: ${count} of ${view.tint.cells}; about ${chance} would by chance. Click picks, Shift+click compares.`
    : "No error bars in this series. Click picks a head, Shift+click compares.";
};

function countMarked(map, cells) {
  let count = 0;
  for (let cell = 0; cell < cells; cell++) count += map.marked(cell);
  return count;
}

/** One line per thing that is known of a head at this step. */
function describeHead(view, [layer, head]) {
  const cell = layer * (view.series.shape[1] ?? 1) + head;
  const lines = [headName([layer, head])];
  if (view.index >= 0) {
    const normalized = view.normalized;
    lines.push(`${withUnit(quantity(view.series, normalized))}: ${formatInterval(view.series.value(view.index, cell, normalized), view.series.half(view.index, cell, normalized))}`);
  }
  if (view.otherIndex >= 0) {
    lines.push(`${view.other.name}: ${formatInterval(view.otherSeries.value(view.otherIndex, cell, view.normalized), view.otherSeries.half(view.otherIndex, cell, view.normalized))}`);
  }
  for (const score of view.run.headSeries()) {
    const index = score.isScore && score !== view.series ? indexAt(score.steps, view.step) : -1;
    if (index >= 0) lines.push(`${titleCase(score.metric)}: ${formatNumber(score.value(index, cell, false))}`);
  }
  return lines;
}

listen(heads.canvas, () => heads.grids, {
  choose: (cell, compare) => { heads.at = cell; pick(cell, compare); },
  hover: (cell, event) => { if (cell) showTip(event, describeHead(heads.view, cell)); else hideTip(); },
  cursor: () => heads.at,
  move: (cell, only) => moveTo(heads, cell, only),
});

/** Move a map's cursor and pick what it is on, unless only the cursor is to move. */
function moveTo(card, cell, only) {
  card.at = cell;
  announce(describeHead(card.view, cell).join(", "));
  if (only) refresh(); else pick(cell, false);
}

heads.sheet = () => {
  const { view } = heads;
  const maps = headMaps(view);
  const rows = [["run", "step", "series", "layer", "head", maps[0].difference ? "difference" : quantity(view.tint, view.normalized).name, "interval_95_half", "excludes_0"]];
  for (const map of maps) {
    const columns = map.series.shape[1] ?? 1;
    for (let cell = 0; cell < map.series.cells; cell++) {
      const half = map.difference ? NaN : map.series.half(map.index, cell, view.normalized);
      rows.push([map.name, map.series.steps[map.index], map.series.label, Math.floor(cell / columns), cell % columns, map.value(cell), half, map.marked(cell) ? 1 : 0]);
    }
  }
  return rows;
};
heads.pictures = () => [heads.canvas, document.getElementById("legend")];
