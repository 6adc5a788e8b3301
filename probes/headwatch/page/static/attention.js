// @ts-check
// What the picked heads attend to: maps of query by key and lines between the tokens, sharing one cursor.

import { drawAttentionLines, drawAttentionMap } from "./attention_tiles.js";
import { clamp, contextOf, font, pointerOn } from "./canvas.js";
import { makeCard } from "./card.js";
import { palette } from "./colours.js";
import { byId, swatch } from "./dom.js";
import { formatStep, headName, numberCell } from "./format.js";
import { shownFrame } from "./frames.js";
import { ARROWS } from "./grid.js";
import { refresh } from "./redraw.js";
import { headWeights } from "./runs.js";
import { sameHead, state } from "./state.js";
import { showToken } from "./tokens.js";
import { hasMissing, weightOf } from "./weights.js";

/** @import { Cell, Place, ReadyFrame, Row, ShownFrame, Tile, TileContent, TileShape, View } from "./types.js" */

const MOST_TILES = 8;
const LEAST_TILE = 260;
const GAP = 24;
const card = makeCard("attention");

export const attention = {
  ...card,
  cursor: /** @type {Cell | null} */ (null),
  tiles: /** @type {Tile[]} */ ([]),
  draw,
  sheet,
  pictures: () => attention.tiles.map((tile) => tile.canvas),
};

/** @type {(view: View) => void} */
function draw(view) {
  const shown = shownFrame(view);
  if (shown.waiting) return;
  const why = shown.why ?? whyNoHeads(view);
  attention.say(why);
  if (why !== null || !shown.frame || !attention.size.width) return;
  const contents = contentsOf(view, shown, shown.frame);
  const key = keyOf(shown, shown.frame, contents);
  if (key === attention.key) return;
  attention.key = key;
  layOut(contents, shown.tokens);
  for (const tile of attention.tiles) drawTile(tile);
  explain(shown.frame);
  readCursor(shown.tokens);
}

/**
 * Why what is picked attends to nothing; null where heads are picked.
 * @type {(view: View) => string | null}
 */
function whyNoHeads({ series }) {
  if (!series || series.isOfHeads) return null;
  const picked = series.dims[1] ?? "whole layer";
  return `Heads attend, and a ${picked} is picked. Choose a probe of heads to see what they attend to.`;
}

/** @type {(shown: ShownFrame, frame: ReadyFrame, contents: TileContent[]) => string} */
function keyOf({ prompt }, { label, step }, contents) {
  const tiles = contents.map(({ kind, head, run, frame }) => [kind, head, run.name, frame.step].join());
  const { cursor, size } = attention;
  return [label, step, prompt, palette.theme, size.width, tiles.join(";"), cursor].join("|");
}

/**
 * One tile per picked head, run and way of drawing.
 * @type {(view: View, shown: ShownFrame, frame: ReadyFrame) => TileContent[]}
 */
function contentsOf(view, { prompt, tokens }, frame) {
  const sources = view.run ? [{ run: view.run, frame, prompt, tokens }] : [];
  const theirs = view.other && shownFrame(view, view.other);
  if (view.other && theirs?.frame && theirs.tokens.join() === tokens.join()) {
    sources.push({ run: view.other, frame: theirs.frame, prompt: theirs.prompt, tokens });
  }
  const several = sources.length > 1;
  const kinds = { map: ["map"], lines: ["lines"], both: ["map", "lines"] }[
    attentionView(view.picks, sources.length)
  ];
  const all = view.picks.flatMap((head, i) =>
    sources.flatMap((source) =>
      (kinds ?? []).map((kind) => ({ kind, head, colour: palette.categories[i], ...source, several })),
    ),
  );
  const there = all.filter(({ frame: { heads }, head }) => head[0] < heads[0] && head[1] < heads[1]);
  return there.slice(0, MOST_TILES);
}

/**
 * How attention is drawn: as chosen; else both ways for one head of one run, and as maps for several.
 * @type {(picks: Place[], runs?: number) => "map" | "lines" | "both"}
 */
export function attentionView(picks, runs = 1) {
  if (state.view === "map" || state.view === "lines" || state.view === "both") return state.view;
  return picks.length * runs > 1 ? "map" : "both";
}

/**
 * Make as many tiles as are shown and give each a size.
 * @type {(contents: TileContent[], tokens: string[]) => void}
 */
function layOut(contents, tokens) {
  const { width } = attention.size;
  const fitting = Math.floor((width + GAP) / (LEAST_TILE + GAP));
  const columns = Math.max(1, Math.min(contents.length, fitting));
  const shape = tileShape(tokens, Math.floor((width - GAP * (columns - 1)) / columns));
  const { tiles } = attention;
  for (const tile of tiles.splice(contents.length)) tile.root.remove();
  for (const [i, content] of contents.entries()) {
    if (i < tiles.length) Object.assign(tiles[i], content, { shape });
    else tiles.push(makeTile(content, shape));
  }
}

/** @type {(tokens: string[], width: number) => TileShape} */
function tileShape(tokens, width) {
  const context = contextOf(document.createElement("canvas"));
  context.font = font(11, palette.mono);
  const texts = tokens.map((token) => showToken(token));
  const longest = Math.max(...texts.map((text) => context.measureText(text).width));
  const label = Math.ceil(Math.min(112, width * 0.3, longest) + 10);
  const cell = clamp((width - label) / tokens.length, 2, 26);
  const whole = cell > 4 ? Math.floor(cell) : cell;
  return { width, label, cell: whole, top: Math.min(label, 96), texts, tokens };
}

/** @type {(content: TileContent, shape: TileShape) => Tile} */
function makeTile(content, shape) {
  const root = document.createElement("div");
  root.className = "tile";
  const heading = document.createElement("h3");
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  root.append(heading, canvas);
  attention.stage.append(root);
  /** @type {Tile} */
  const tile = { ...content, root, heading, canvas, shape, weights: new Uint8Array(), find: () => null };
  canvas.addEventListener("pointermove", (event) => pointAt(tile.find(pointerOn(canvas, event))));
  canvas.addEventListener("pointerleave", () => pointAt(null));
  canvas.addEventListener("keydown", (event) => moveInTile(tile, event));
  return tile;
}

/** @type {(tile: Tile) => void} */
function drawTile(tile) {
  const { head, colour, run, several, kind, canvas, heading } = tile;
  heading.replaceChildren(swatch(colour), `${headName(head)}${several ? ` · ${run.name}` : ""}`);
  const use = "arrow keys move over queries and keys";
  canvas.setAttribute("aria-label", `Attention of ${headName(head)}, as ${kind}: ${use}`);
  tile.weights = headWeights(tile.frame, tile.prompt, head);
  if (kind === "map") drawAttentionMap(tile, attention.cursor);
  else drawAttentionLines(tile, attention.cursor);
}

/** Put the cursor on a query and a key of all tiles. @type {(cursor: Cell | null) => void} */
function pointAt(cursor) {
  if (String(cursor) === String(attention.cursor)) return;
  attention.cursor = cursor;
  attention.key = null;
  refresh();
}

/** @type {(tile: Tile, event: KeyboardEvent) => void} */
function moveInTile({ shape }, event) {
  if (!(event.key in ARROWS)) return;
  const last = shape.texts.length - 1;
  const [query, key] = attention.cursor ?? [last, 0];
  const [down, right] = attention.cursor ? ARROWS[event.key] : [0, 0];
  const next = clamp(query + down, 0, last);
  pointAt([next, clamp(key + right, 0, next)]);
  event.preventDefault();
  event.stopPropagation();
}

/** @type {(frame: ReadyFrame) => void} */
function explain({ step, passes = 0, kept = 0, total = 0, tokens }) {
  const shared = passes > kept ? ` (one of ${kept} kept of ${passes})` : "";
  const cut = total > tokens.length ? `, ${tokens.length} of ${total} prompts kept` : "";
  const grey = attention.tiles.some(({ weights, shape }) => hasMissing(weights, shape.texts.length));
  const missing = grey ? "; grey: no number, as in a model that has diverged" : "";
  byId("attention-caption").textContent =
    `Maps of step ${formatStep(step)}${shared}${cut}; rows are queries, columns keys${missing}`;
}

/**
 * Say which query and key the cursor is on, and their weight in each head.
 * @type {(tokens: string[]) => void}
 */
function readCursor(tokens) {
  const reading = byId("attention-reading");
  if (!attention.cursor) {
    reading.textContent = "Point at a map to read query, key and weight.";
    return;
  }
  const [query, key] = attention.cursor;
  /** @type {(index: number) => HTMLElement} */
  const strong = (index) =>
    Object.assign(document.createElement("b"), { textContent: showToken(tokens[index], 24) });
  const weights = headTiles().map(({ head, several, run, weights: all }) => {
    const name = `${headName(head)}${several ? ` ${run.name}` : ""}`;
    return `${name} ${weightOf(all, query, key).toFixed(2)}`;
  });
  const values = ` (${key}): ${weights.join(" · ")}`;
  reading.replaceChildren("query ", strong(query), ` (${query}) → key `, strong(key), values);
}

/** One tile of each head and run, however often it is drawn. @type {() => Tile[]} */
function headTiles() {
  /** @type {(a: Tile, b: Tile) => boolean} */
  const same = (a, b) => sameHead(a.head, b.head) && a.run === b.run;
  return attention.tiles.filter((tile, i, all) => all.findIndex((other) => same(other, tile)) === i);
}

/** @type {() => Row[]} */
function sheet() {
  const header = ["run", "step", "layer", "head", "query", "query_token", "key", "key_token", "weight"];
  const rows = headTiles().flatMap(({ run, frame, head, tokens, weights }) =>
    tokens.flatMap((from, query) =>
      tokens
        .slice(0, query + 1)
        .map((to, key) => [
          run.name,
          frame.step,
          ...head,
          query,
          from,
          key,
          to,
          numberCell(weightOf(weights, query, key)),
        ]),
    ),
  );
  return [header, ...rows];
}
