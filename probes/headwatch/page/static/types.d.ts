// What the page's scripts hand to each other, for the type checker and the reader; no part of the page itself.

import type { Run } from "./runs.js";
import type { Series } from "./series.js";

/** A cell of a map by where it is drawn: row and column, from 0. */
export type Cell = [row: number, column: number];
/** A cell by what it is: layer and head (or neuron), as the model counts them. */
export type Place = [layer: number, unit: number];
/** What the page draws with: a canvas's context, or one that records SVG. Whatever drawing needs more of goes in here. */
export interface Context {
  fillStyle: string | CanvasGradient | CanvasPattern;
  strokeStyle: string | CanvasGradient | CanvasPattern;
  lineWidth: number;
  globalAlpha: number;
  font: string;
  textAlign: CanvasTextAlign;
  textBaseline: CanvasTextBaseline;
  imageSmoothingEnabled: boolean;
  save(): void;
  restore(): void;
  translate(x: number, y: number): void;
  rotate(radians: number): void;
  setLineDash(dashes: number[]): void;
  beginPath(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  bezierCurveTo(x1: number, y1: number, x2: number, y2: number, x: number, y: number): void;
  arc(x: number, y: number, radius: number, from: number, to: number): void;
  rect(x: number, y: number, width: number, height: number): void;
  closePath(): void;
  clip(): void;
  fill(): void;
  stroke(): void;
  fillRect(x: number, y: number, width: number, height: number): void;
  strokeRect(x: number, y: number, width: number, height: number): void;
  fillText(text: string, x: number, y: number): void;
  measureText(text: string): { width: number };
  drawImage(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void;
}
export type Colour = number[];
/** A row of a table to save. */
export type Row = (string | number)[];

/** Values of many passes in half precision: base64, to be multiplied by `scale`. */
export interface Packed {
  scale: number;
  data: string;
}

/** What a series asked, and of which cells. */
export interface Asked {
  label: string;
  probe: string;
  site: string;
  kind: string;
  metric: string;
  /** Whether these are estimates by gradients alone. */
  first_order: boolean;
  dims: string[];
  shape: number[];
  /** The places of the axes that don't count from 0. */
  coords: Record<string, number[]>;
}

export interface SeriesPayload extends Asked {
  total: number;
  steps: number[];
  n: number[];
  /** A bit per cell, whether it stands out at a false discovery rate of 5%; null without error bars. */
  marks: string[] | null;
  baseline: (number | null)[];
  clean: (number | null)[];
  corrupted: (number | null)[];
  seconds: (number | null)[];
  /** Each pass's share of what an exact sweep costs; null where it was not counted. */
  cost: (number | null)[];
  /** The share of the training time that passes had taken; null where it was not counted. */
  overhead: (number | null)[];
  mean: Packed;
  /** Half the width of each 95% interval; null without error bars. */
  half: Packed | null;
  /** What only passes have that ran some pairs exactly and estimated the rest. */
  estimates: EstimatesPayload | null;
}

/** A place for each pass; null where it ran every pair, or none. */
export interface EstimatesPayload {
  /** How many pairs had an exact run, two bytes a cell. */
  n_exact: (string | null)[];
  /** A bit per cell, whether its interval is not to be trusted. */
  suspect: (string | null)[];
  /** What was known of every pair, by name, joined with +. */
  covariate: (string | null)[];
  /** The share of the variance over pairs that it explains. */
  explained: Packed;
}

/** What the effects on every pair say of a series. */
export interface FindingsPayload extends Asked {
  /** A sentence for each pass whose effects on every pair can't be read. */
  problems: string[];
  changes: ChangePayload[];
  shifts: Shift[];
  events: ChangeEvent[];
  /** How many passes were compared with the one before, and how many events chance would give. */
  comparisons: number;
  by_chance: number | null;
}

export interface ChangePayload {
  before: number;
  after: number;
  mean: Packed;
  half: Packed;
  /** A bit per cell, whether its change is more than noise. */
  marks: string;
  by_chance: number | null;
}

/** The change from one pass to another, pair by pair. */
export interface PairedChange {
  mean: Float32Array;
  half: Float32Array;
  marks: Uint8Array;
  byChance: number | null;
}

/** When a cell's effect shifted, by steps, and what it was before and after. */
export interface Shift {
  cell: number;
  step: number;
  low: number;
  high: number;
  before: number;
  after: number;
}

/** A change from one pass to the next that is more than noise. */
export interface ChangeEvent {
  before: number;
  after: number;
  place: Place;
  change: number;
  half: number;
}

/** How a pass was estimated. */
export interface Estimate {
  nExact: Uint16Array;
  suspect: Uint8Array | null;
  covariate: string | null;
  explained: Float32Array;
}

/** One pass of a series. */
export interface Point {
  step: number;
  mean: Float32Array;
  half: Float32Array | null;
  marks: Uint8Array | null;
  /** Null where every pair was run exactly, or none. */
  estimate: Estimate | null;
  n: number;
  cost: number | null;
  overhead: number | null;
  baseline: number | null;
  clean: number | null;
  corrupted: number | null;
  seconds: number | null;
}

export interface Scalar {
  name: string;
  steps: number[];
  values: (number | null)[];
}

export interface FramePayload {
  step: number;
  label: string;
  tokens: string[][];
  heads?: [layers: number, heads: number];
  maps?: string | null;
  total?: number;
  kept?: number;
  passes?: number;
}

/** Attention maps of one step, on their way or decoded. */
export interface Frame extends FramePayload {
  bytes: Uint8Array | null;
  asked: boolean;
  broken?: boolean;
}

/** A frame whose maps are there. */
export interface ReadyFrame extends Frame {
  bytes: Uint8Array;
  heads: [layers: number, heads: number];
}

export interface FrameGroup {
  label: string;
  steps: number[];
  items: Frame[];
}

export interface Prompts {
  label: string;
  clean: string[][];
  corrupted: string[][];
  position: number[];
  total: number;
}

/** A prompt pair to show beside effects by position. */
export interface Pair {
  clean: string[];
  corrupted: string[];
  position: number;
  number: number;
}

export interface RunPayload {
  name: string;
  model: Record<string, number>;
  series: SeriesPayload[];
  scalars: Scalar[];
  frames: FramePayload[];
  prompts: Prompts[];
  notes: { level: string; message: string }[];
  problems: string[];
  /** A report's; a live page asks for them. */
  findings?: FindingsPayload[];
}

/** Where runs come from. */
export interface Source {
  live: boolean;
  runs: Run[];
  /** A sentence for each run that can't be read. */
  problems: string[];
  /** The runs to ask news of. */
  wanted: () => Run[];
  start: () => unknown;
  maps: (run: Run, frame: Frame) => Promise<FramePayload>;
  findings: (run: Run) => Promise<FindingsPayload[]>;
}

/** A colour scale. */
export interface Scale {
  diverging: boolean;
  centre: number;
  reach: number;
  low: number;
  high: number;
}

/** What the reader has chosen; null where the page decides. */
export interface State {
  run: string | null;
  other: string | null;
  series: string | null;
  colour: string;
  scale: string;
  step: number | null;
  picks: Place[];
  since: number | null;
  prompt: [label: string, index: number] | null;
  view: string | null;
  compare: string;
  scalar: string | null;
  axis: string;
  position: string | null;
  positionView: string | null;
  pair: number;
  theme: string | null;
}

/** Everything that drawing needs, worked out once a frame. */
export interface View {
  source: Source;
  run: Run | null;
  other: Run | null;
  series: Series | null;
  steps: number[];
  step: number | null;
  index: number;
  picks: Place[];
  normalized: boolean;
  tint: Series | null;
  tintIndex: number;
  otherSeries: Series | null;
  otherIndex: number;
}

/** A view of a run with something measured per head. */
export interface MeasuredView extends View {
  run: Run;
  series: Series;
  tint: Series;
  step: number;
}

/** A card of the page: its parts, the size of its stage, and what can be saved of it. */
export interface Card {
  id: string;
  root: HTMLElement;
  stage: HTMLElement;
  empty: HTMLElement;
  key: string | null;
  size: { width: number; height: number };
  title: () => string;
  /** Show a message in place of the drawing; null takes it away. */
  say: (message: string | null) => void;
}

export interface DrawnCard extends Card {
  draw: (view: View) => void;
  sheet?: () => Row[];
  pictures?: () => HTMLCanvasElement[];
}

/** Where the cells of a map are. */
export interface Grid {
  rows: number;
  columns: number;
  left: number;
  top: number;
  cell: number;
  right: number;
  bottom: number;
}

/** What a map does when it is pointed at. */
export interface MapActions {
  choose: (cell: Cell, compare: boolean) => void;
  hover: (cell: Cell | null, event: PointerEvent) => void;
  cursor: () => Cell;
  move: (cell: Cell, only: boolean) => void;
}

/** One map of heads: this run's, the other's, or their difference. */
export interface HeadMap {
  name: string;
  run: Run;
  series: Series;
  index: number;
  value: (cell: number) => number;
  half: (cell: number) => number;
  marked: (cell: number) => boolean;
  estimated: (cell: number) => boolean;
  suspect: (cell: number) => boolean;
  difference: boolean;
}

/** How a cell of a map looks: its value as colour; a dot where it stands out, hollow where estimated; hatched. */
export interface CellLook {
  value: number;
  marked: boolean;
  estimated: boolean;
  suspect: boolean;
}

export interface StepAxis {
  low: number;
  high: number;
  left: number;
  right: number;
  at: (step: number) => number;
  step: (pixel: number) => number;
  ticks: number[];
}

export interface ValueAxis {
  top: number;
  bottom: number;
  at: (value: number) => number;
  ticks: number[];
}

/** The attention maps that are shown, or why there are none. */
export interface ShownFrame {
  frame?: ReadyFrame;
  prompt: number;
  tokens: string[];
  why?: string;
  waiting?: boolean;
}

/** How large the parts of an attention tile are. */
export interface TileShape {
  width: number;
  label: number;
  cell: number;
  top: number;
  texts: string[];
  tokens: string[];
}

/** What a tile of attention shows. */
export interface TileContent {
  kind: string;
  head: Place;
  colour: string;
  run: Run;
  frame: ReadyFrame;
  prompt: number;
  tokens: string[];
  several: boolean;
}

export interface Tile extends TileContent {
  root: HTMLElement;
  heading: HTMLElement;
  canvas: HTMLCanvasElement;
  shape: TileShape;
  weights: Uint8Array;
  /** Query and key under a point. */
  find: (point: [x: number, y: number]) => Cell | null;
}

/** What the columns of effects by position are. */
export interface PositionColumns {
  name: string;
  labels: number[];
  /** Layer and head of a cell; null where a column is a whole layer. */
  head: (row: number, column: number) => Place | null;
  cell: (row: number, column: number) => number;
}

export interface ShownPosition {
  series: Series;
  index: number;
  pair: Pair | null;
  normalized: boolean;
  across: PositionColumns;
}
