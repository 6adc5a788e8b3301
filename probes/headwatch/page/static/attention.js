"use strict";
// What the picked heads attend to: a map of query by key, and lines between the tokens, sharing one cursor.

const MOST_TILES = 8;
const LEAST_TILE = 260;
const attention = makeCard("attention");
attention.cursor = null;
attention.tiles = [];

/** The series of frames and the prompt that are shown: {label, prompt}, or null where there are none. */
function shownPrompt(run) {
  if (!run.frames.size) return null;
  const label = state.prompt && run.frames.has(state.prompt[0]) ? state.prompt[0] : [...run.frames.keys()][0];
  return { label, prompt: state.prompt && state.prompt[0] === label ? state.prompt[1] : 0 };
}

/** The decoded frame of a run at a step, or why there is none: {frame, prompt, tokens} or {why}. */
function shownFrame(view, run = view.run) {
  const chosen = run ? shownPrompt(run) : null;
  if (!chosen) return { why: "No attention maps in this run yet. Add AttentionMaps to the trainer's callbacks." };
  const frame = run.frameAt(chosen.label, view.step);
  if (!frame) return { why: `No attention maps yet at step ${formatStep(view.step)}; the first are of step ${formatStep(run.frames.get(chosen.label).steps[0])}.` };
  if (frame.broken) return { why: `The attention maps of step ${formatStep(frame.step)} could not be read.` };
  if (!readyFrame(view.source, run, frame, refresh)) return { waiting: true };
  const prompt = Math.min(chosen.prompt, frame.tokens.length - 1);
  return { frame, prompt, tokens: frame.tokens[prompt] };
}

attention.draw = (view) => {
  attention.view = view;
  const shown = shownFrame(view);
  if (shown.waiting) return;
  attention.shown = shown;
  attention.say(shown.why ?? null);
  if (shown.why || !attention.size.width) return;
  const tiles = tilesOf(view, shown);
  const key = [shown.frame.label, shown.frame.step, shown.prompt, view.run.name, theme, attention.size.width,
    tiles.map((tile) => `${tile.kind}${tile.head}${tile.run.name}${tile.frame.step}`).join(";"), attention.cursor].join("|");
  if (key === attention.key) return;
  attention.key = key;
  layOutTiles(tiles, shown);
  attention.tiles.forEach(drawTile);
  attention.explain(shown);
};

/** One tile per picked head, run and way of drawing. */
function tilesOf(view, shown) {
  const sources = [{ run: view.run, ...shown }];
  const theirs = view.other ? shownFrame(view, view.other) : {};
  if (theirs.frame && theirs.tokens.join() === shown.tokens.join()) sources.push({ run: view.other, ...theirs });
  const kinds = { map: ["map"], lines: ["lines"], both: ["map", "lines"] }[attentionView(view.picks, sources.length)];
  const tiles = view.picks.flatMap((head, i) => sources.flatMap((source) => kinds.map((kind) => ({
    kind, head, colour: palette.categories[i], ...source, several: sources.length > 1,
  }))));
  return tiles.filter(({ frame, head }) => head[0] < frame.heads[0] && head[1] < frame.heads[1]).slice(0, MOST_TILES);
}

/** How attention is drawn: as chosen; else both ways for one head of one run, and as maps for several. */
function attentionView(picks, runs = 1) {
  return state.view ?? (picks.length * runs > 1 ? "map" : "both");
}

/** Make as many tiles as are shown and give each a size. */
function layOutTiles(tiles, { tokens }) {
  const gap = 24;
  const { width } = attention.size;
  const columns = Math.max(1, Math.min(tiles.length, Math.floor((width + gap) / (LEAST_TILE + gap))));
  const each = Math.floor((width - gap * (columns - 1)) / columns);
  const shape = tileShape(tokens, each);
  while (attention.tiles.length < tiles.length) attention.tiles.push(makeTile());
  for (const tile of attention.tiles.splice(tiles.length)) tile.root.remove();
  attention.tiles.forEach((tile, i) => Object.assign(tile, tiles[i], { shape }));
}

function tileShape(tokens, width) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font(11, palette.mono);
  const texts = tokens.map((token) => showToken(token));
  const label = Math.ceil(Math.min(112, width * 0.3, Math.max(...texts.map((text) => context.measureText(text).width))) + 10);
  const cell = Math.max(2, Math.min(26, (width - label) / tokens.length));
  const whole = cell > 4 ? Math.floor(cell) : cell;
  return { width, label, cell: whole, top: Math.min(label, 96), texts, tokens };
}

function makeTile() {
  const root = document.createElement("div");
  root.className = "tile";
  const heading = document.createElement("h3");
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  root.append(heading, canvas);
  attention.stage.append(root);
  const tile = { root, heading, canvas };
  canvas.addEventListener("pointermove", (event) => pointAt(tile, tile.find(pointerOn(canvas, event))));
  canvas.addEventListener("pointerleave", () => pointAt(tile, null));
  canvas.addEventListener("keydown", (event) => moveInTile(tile, event));
  return tile;
}

function drawTile(tile) {
  const { head, colour, run, several, kind, canvas, heading } = tile;
  const swatch = document.createElement("i");
  swatch.className = "swatch";
  swatch.style.color = colour;
  heading.replaceChildren(swatch, `${headName(head, HEAD_DIMS)}${several ? ` · ${run.name}` : ""}`);
  canvas.setAttribute("aria-label", `Attention of ${headName(head, HEAD_DIMS)}, as ${kind}: arrow keys move over queries and keys`);
  tile.weights = headWeights(tile.frame, tile.prompt, head);
  if (kind === "map") drawAttentionMap(tile); else drawAttentionLines(tile);
}

/** The weight of a key for a query, 0 to 1. */
function weightOf(tile, query, key) {
  return key > query ? 0 : tile.weights[triangle(query) + key] / 255;
}

function drawAttentionMap(tile) {
  const { shape: { label, cell, top, texts }, canvas } = tile;
  const size = cell * texts.length;
  const context = fit(canvas, label + size + 1, top + size + 1);
  context.imageSmoothingEnabled = false;
  context.drawImage(weightImage([tile.weights], texts.length, 1, texts.length), label, top, size, size);
  if (cell > 8) drawSeparators(context, label, top, cell, texts.length);
  drawTokenLabels(context, tile);
  tile.find = ([x, y]) => inTriangle(Math.floor((y - top) / cell), Math.floor((x - label) / cell), texts.length);
  if (attention.cursor) outlineCell(context, tile);
}

function inTriangle(query, key, tokens) {
  return query >= 0 && key >= 0 && query < tokens && key <= query ? [query, key] : null;
}

/** An image of `columns` maps a row, each `side` pixels square: a pixel is the largest weight that falls on it. */
function weightImage(maps, tokens, columns, side) {
  const canvas = document.createElement("canvas");
  canvas.width = columns * side;
  canvas.height = Math.ceil(maps.length / columns) * side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = palette.sequential.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
  const places = Array.from({ length: tokens }, (_, token) => Math.floor((token * side) / tokens));
  const level = new Uint8Array(pixels.length);
  maps.forEach((weights, i) => {
    const start = Math.floor(i / columns) * side * canvas.width + (i % columns) * side;
    let at = 0;
    for (let query = 0; query < tokens; query++) {
      const row = start + places[query] * canvas.width;
      for (let key = 0; key <= query; key++, at++) {
        const pixel = row + places[key];
        if (weights[at] >= level[pixel]) { level[pixel] = weights[at]; pixels[pixel] = colours[weights[at]]; }
      }
    }
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Thin lines between cells, and the staircase that no attention crosses. */
function drawSeparators(context, left, top, cell, tokens) {
  context.strokeStyle = palette.card;
  context.lineWidth = 1;
  for (let i = 1; i < tokens; i++) {
    line(context, left, top + i * cell - 0.5, left + i * cell, top + i * cell - 0.5);
    line(context, left + i * cell - 0.5, top + i * cell, left + i * cell - 0.5, top + tokens * cell);
  }
  context.strokeStyle = palette.line;
  context.beginPath();
  context.moveTo(left - 0.5, top);
  for (let i = 0; i < tokens; i++) {
    context.lineTo(left + (i + 1) * cell + 0.5, top + i * cell + 0.5);
    context.lineTo(left + (i + 1) * cell + 0.5, top + (i + 1) * cell + 0.5);
  }
  context.lineTo(left - 0.5, top + tokens * cell + 0.5);
  context.closePath();
  context.stroke();
}

/** Queries down, keys along the top; the ones under the cursor are strong, small cells name only those. */
function drawTokenLabels(context, { shape: { label, cell, top, texts } }) {
  const [query, key] = attention.cursor ?? [-1, -1];
  const style = (strong) => font(Math.min(11, Math.max(9, cell - 2)), palette.mono, strong ? 700 : 400);
  texts.forEach((text, i) => {
    if (cell < 9 && i !== query && i !== key) return;
    const middle = (i + 0.5) * cell;
    if (cell >= 9 || i === query) {
      write(context, clipped(context, text, label - 8, style(i === query)), label - 6, top + middle, { align: "right", colour: i === query ? palette.text : palette.muted, style: style(i === query) });
    }
    if (cell < 9 && i !== key) return;
    context.save();
    context.translate(label + middle, top - 5);
    context.rotate(-Math.PI / 2);
    write(context, clipped(context, text, top - 8, style(i === key)), 0, 0, { colour: i === key ? palette.text : palette.muted, style: style(i === key) });
    context.restore();
  });
}

function outlineCell(context, { shape: { label, cell, top } }) {
  const [query, key] = attention.cursor;
  context.strokeStyle = palette.categories[0];
  context.lineWidth = 1.5;
  context.strokeRect(label + key * cell - 0.5, top + query * cell - 0.5, cell, cell);
}

function drawAttentionLines(tile) {
  const { shape: { label, cell, top, texts, width }, canvas } = tile;
  const row = Math.max(cell, 12);
  const wide = Math.min(width, 420);
  const context = fit(canvas, wide, top + row * texts.length + 1);
  const [left, right] = [label, wide - label];
  write(context, "query", left - 6, top - 10, { align: "right" });
  write(context, "key", right + 6, top - 10);
  drawCurves(context, tile, (i) => top + (i + 0.5) * row, left, right);
  const [query, key] = attention.cursor ?? [-1, -1];
  texts.forEach((text, i) => {
    const y = top + (i + 0.5) * row;
    const style = (strong) => font(11, palette.mono, strong ? 700 : 400);
    const [fromStyle, toStyle] = [style(i === query), style(i === key)];
    write(context, clipped(context, text, label - 8, fromStyle), left - 6, y, { align: "right", colour: i === query ? palette.text : palette.muted, style: fromStyle });
    write(context, clipped(context, text, label - 8, toStyle), right + 6, y, { colour: i === key ? palette.text : palette.muted, style: toStyle });
  });
  tile.find = ([x, y]) => {
    const at = Math.floor((y - top) / row);
    if (at < 0 || at >= texts.length) return null;
    return x < wide / 2 ? [at, strongestKey(tile, at)] : [strongestQuery(tile, at), at];
  };
}

/** A curve per weight above 0.03, as opaque as it is strong; with a cursor only those of its query. */
function drawCurves(context, tile, place, left, right) {
  const query = attention.cursor?.[0];
  const middle = (left + right) / 2;
  context.strokeStyle = tile.colour;
  for (let from = 0; from < tile.shape.texts.length; from++) {
    for (let to = 0; to <= from; to++) {
      const weight = weightOf(tile, from, to);
      if (weight < 0.03) continue;
      context.globalAlpha = query === undefined ? weight * 0.85 : query === from ? 0.15 + weight * 0.85 : weight * 0.08;
      context.lineWidth = 0.8 + 2.6 * weight;
      context.beginPath();
      context.moveTo(left, place(from));
      context.bezierCurveTo(middle, place(from), middle, place(to), right, place(to));
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

function strongestKey(tile, query) {
  let best = 0;
  for (let key = 1; key <= query; key++) if (weightOf(tile, query, key) > weightOf(tile, query, best)) best = key;
  return best;
}

function strongestQuery(tile, key) {
  let best = key;
  for (let query = key; query < tile.shape.texts.length; query++) if (weightOf(tile, query, key) > weightOf(tile, best, key)) best = query;
  return best;
}

/** Put the cursor on a query and a key of all tiles, and read out the weight. */
function pointAt(tile, cursor) {
  if (String(cursor) === String(attention.cursor)) return;
  attention.cursor = cursor;
  attention.key = null;
  refresh();
}

function moveInTile(tile, event) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!(event.key in moves)) return;
  const [query, key] = attention.cursor ?? [tile.shape.texts.length - 1, 0];
  const [down, right] = attention.cursor ? moves[event.key] : [0, 0];
  const next = clamp(query + down, 0, tile.shape.texts.length - 1);
  pointAt(tile, [next, clamp(key + right, 0, next)]);
  event.preventDefault();
  event.stopPropagation();
}

attention.explain = ({ frame, tokens }) => {
  const shared = frame.passes > frame.kept ? ` (one of ${frame.kept} kept of ${frame.passes})` : "";
  const cut = frame.total > frame.tokens.length ? `, ${frame.tokens.length} of ${frame.total} prompts kept` : "";
  document.getElementById("attention-caption").textContent = `Maps of step ${formatStep(frame.step)}${shared}${cut}; rows are queries, columns keys`;
  const reading = document.getElementById("attention-reading");
  if (!attention.cursor) { reading.textContent = "Point at a map to read query, key and weight."; return; }
  const [query, key] = attention.cursor;
  const strong = (index) => Object.assign(document.createElement("b"), { textContent: showToken(tokens[index], 24) });
  const maps = attention.tiles.filter((tile, i, all) => all.findIndex((other) => sameHead(other.head, tile.head) && other.run === tile.run) === i);
  const weights = maps.map((tile) => `${headName(tile.head, HEAD_DIMS)}${tile.several ? ` ${tile.run.name}` : ""} ${weightOf(tile, query, key).toFixed(2)}`);
  reading.replaceChildren("query ", strong(query), ` (${query}) → key `, strong(key), ` (${key}): ${weights.join(" · ")}`);
};

attention.sheet = () => {
  const rows = [["run", "step", "layer", "head", "query", "query_token", "key", "key_token", "weight"]];
  const seen = new Set();
  for (const tile of attention.tiles) {
    const name = `${tile.head}|${tile.run.name}`;
    if (seen.has(name)) continue;
    seen.add(name);
    tile.tokens.forEach((from, query) => tile.tokens.slice(0, query + 1).forEach((to, key) => {
      rows.push([tile.run.name, tile.frame.step, ...tile.head, query, from, key, to, weightOf(tile, query, key)]);
    }));
  }
  return rows;
};
attention.pictures = () => attention.tiles.map((tile) => tile.canvas);
