"use strict";
// The attention maps of all heads at once, in the order of the map of heads.

const LARGEST_THUMB = 40;
const thumbnails = makeCard("thumbnails");
thumbnails.canvas = thumbnails.stage.querySelector("canvas");
thumbnails.grids = [];
thumbnails.at = [0, 0];

thumbnails.draw = (view) => {
  thumbnails.view = view;
  const shown = shownFrame(view);
  if (shown.waiting) return;
  thumbnails.shown = shown;
  thumbnails.say(shown.why ?? null);
  if (shown.why || !thumbnails.size.width) return;
  const focus = document.activeElement === thumbnails.canvas ? thumbnails.at : "";
  const key = [shown.frame.label, shown.frame.step, shown.prompt, view.run.name, theme, thumbnails.size.width, view.picks.join(";"), focus].join("|");
  if (key === thumbnails.key) return;
  thumbnails.key = key;
  drawThumbnails(view, shown, focus);
  document.getElementById("thumbnails-caption").textContent = `“${showPrompt(shown.tokens, 34)}”, step ${formatStep(shown.frame.step)}`;
};

function drawThumbnails(view, shown, focus) {
  const [rows, columns] = shown.frame.heads;
  const grid = gridAt({ rows, columns, left: 36, top: 34, width: thumbnails.size.width, most: 60 });
  thumbnails.grids = [grid];
  const context = fit(thumbnails.canvas, thumbnails.size.width, grid.bottom + 3);
  drawAxes(context, grid, "Head");
  const maps = Array.from({ length: rows * columns }, (_, i) => headWeights(shown.frame, shown.prompt, [Math.floor(i / columns), i % columns]));
  const side = Math.min(shown.tokens.length, LARGEST_THUMB);
  context.imageSmoothingEnabled = side > grid.cell;
  context.drawImage(weightImage(maps, shown.tokens.length, columns, side), grid.left, grid.top, grid.right - grid.left, grid.bottom - grid.top);
  drawThumbGrid(context, grid);
  view.picks.forEach((head, i) => { if (head[0] < rows && head[1] < columns) drawFrame(context, grid, head, palette.categories[i]); });
  if (focus) drawFrame(context, grid, focus, palette.text, 1);
}

function drawThumbGrid(context, grid) {
  context.strokeStyle = palette.line;
  context.lineWidth = 1;
  for (let row = 0; row <= grid.rows; row++) line(context, grid.left, grid.top + row * grid.cell - 0.5, grid.right, grid.top + row * grid.cell - 0.5);
  for (let column = 0; column <= grid.columns; column++) line(context, grid.left + column * grid.cell - 0.5, grid.top, grid.left + column * grid.cell - 0.5, grid.bottom);
}

listen(thumbnails.canvas, () => thumbnails.grids, {
  choose: (cell, compare) => { thumbnails.at = cell; pick(cell, compare); },
  hover: (cell, event) => { if (cell && thumbnails.view.series) showTip(event, describeHead(thumbnails.view, cell)); else hideTip(); },
  cursor: () => thumbnails.at,
  move: (cell, only) => { if (thumbnails.view.series) moveTo(thumbnails, cell, only); },
});

thumbnails.pictures = () => [thumbnails.canvas];
