// @ts-check
// What a canvas is drawn with, as SVG: the page's drawing functions run on it as they run on the screen, so that a
// saved vector picture is what was seen. It knows as much of a canvas's context as `Context` says.

/** @import { Context } from "./types.js" */

/**
 * What `save` keeps and `restore` brings back.
 * @typedef {{matrix: DOMMatrix, clip: string}} Kept
 */

let clips = 0;

/** @implements {Context} */
export class SvgContext {
  constructor() {
    /** @type {Context["fillStyle"]} */
    this.fillStyle = "#000";
    /** @type {Context["strokeStyle"]} */
    this.strokeStyle = "#000";
    this.lineWidth = 1;
    this.globalAlpha = 1;
    this.font = "10px sans-serif";
    /** @type {CanvasTextAlign} */
    this.textAlign = "left";
    /** @type {CanvasTextBaseline} */
    this.textBaseline = "alphabetic";
    this.imageSmoothingEnabled = true;
    /** @type {number[]} */
    this.dashes = [];
    this.path = "";
    this.clipping = "";
    this.matrix = new DOMMatrix();
    /** @type {Kept[]} */
    this.kept = [];
    /** @type {string[]} */
    this.parts = [];
    this.ruler = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  }

  /** Start anew. */
  cleared() {
    return Object.assign(this, {
      parts: [],
      path: "",
      matrix: new DOMMatrix(),
      clipping: "",
      globalAlpha: 1,
    });
  }

  save() {
    this.kept.push({ matrix: DOMMatrix.fromMatrix(this.matrix), clip: this.clipping });
  }

  restore() {
    const { matrix, clip } = this.kept.pop() ?? { matrix: new DOMMatrix(), clip: "" };
    Object.assign(this, { matrix, clipping: clip });
  }

  /** @param {number} x @param {number} y */
  translate(x, y) {
    this.matrix.translateSelf(x, y);
  }

  /** @param {number} radians */
  rotate(radians) {
    this.matrix.rotateSelf((radians * 180) / Math.PI);
  }

  /** @param {number[]} dashes */
  setLineDash(dashes) {
    this.dashes = dashes;
  }

  beginPath() {
    this.path = "";
  }

  /** @param {number} x @param {number} y */
  moveTo(x, y) {
    this.path += `M${round(x)} ${round(y)}`;
  }

  /** As on a canvas, the first point of a path is moved to. @param {number} x @param {number} y */
  lineTo(x, y) {
    this.path += `${this.path ? "L" : "M"}${round(x)} ${round(y)}`;
  }

  /**
   * @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2
   * @param {number} x @param {number} y
   */
  bezierCurveTo(x1, y1, x2, y2, x, y) {
    this.path += `C${[x1, y1, x2, y2, x, y].map(round).join(" ")}`;
  }

  /**
   * A whole circle: nothing on the page draws less of one.
   * @param {number} x @param {number} y @param {number} radius
   */
  arc(x, y, radius) {
    const [left, right, r] = [round(x - radius), round(x + radius), round(radius)];
    this.path += `M${left} ${round(y)}A${r} ${r} 0 1 1 ${right} ${round(y)}A${r} ${r} 0 1 1 ${left} ${round(y)}Z`;
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  rect(x, y, width, height) {
    this.path += `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}Z`;
  }

  closePath() {
    this.path += "Z";
  }

  /** Draw only inside the path from here on. */
  clip() {
    clips += 1;
    this.parts.push(`<clipPath id="clip${clips}"><path d="${this.path}"${this.placing()}/></clipPath>`);
    this.clipping = ` clip-path="url(#clip${clips})"`;
  }

  fill() {
    this.add("path", `d="${this.path}" ${this.filling()}`);
  }

  stroke() {
    this.add("path", `d="${this.path}" ${this.stroking()}`);
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  fillRect(x, y, width, height) {
    this.add("rect", `${box(x, y, width, height)} ${this.filling()}`);
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  strokeRect(x, y, width, height) {
    this.add("rect", `${box(x, y, width, height)} ${this.stroking()}`);
  }

  /** @param {string} text @param {number} x @param {number} y */
  fillText(text, x, y) {
    const anchor = { center: "middle", right: "end" }[String(this.textAlign)] ?? "start";
    const [, weight, size, family] = this.font.match(/^(\d+) ([\d.]+)px (.*)$/) ?? [
      "",
      "400",
      "10",
      this.font,
    ];
    const drop = this.textBaseline === "middle" ? 0.35 * Number(size) : 0; // half a capital's height
    const style = `font-family="${escaped(family)}" font-size="${size}" font-weight="${weight}"`;
    const attributes = `x="${round(x)}" y="${round(y + drop)}" text-anchor="${anchor}" ${style} ${this.filling()}`;
    this.add("text", attributes, escaped(text));
  }

  /** @param {string} text */
  measureText(text) {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }

  /**
   * A small image as one path per colour: pixels stay sharp at any size, and can be edited.
   * @param {HTMLCanvasElement} image @param {number} x @param {number} y @param {number} width @param {number} height
   */
  drawImage(image, x, y, width, height) {
    const place = `translate(${round(x)} ${round(y)}) scale(${width / image.width} ${height / image.height})`;
    const runs = [...runsByColour(image)].map(([colour, d]) => `<path fill="${colour}" d="${d}"/>`);
    const drawn = `<g transform="${place}" shape-rendering="crispEdges">${runs.join("")}</g>`;
    this.parts.push(`<g${this.placing()}${this.clipping}>${drawn}</g>`);
  }

  /** @param {string} tag @param {string} attributes @param {string} [inner] */
  add(tag, attributes, inner) {
    const alpha = this.globalAlpha < 1 ? ` opacity="${round(this.globalAlpha)}"` : "";
    const open = `<${tag} ${attributes}${alpha}${this.placing()}`;
    const element = inner === undefined ? `${open}/>` : `${open} xml:space="preserve">${inner}</${tag}>`;
    this.parts.push(this.clipping ? `<g${this.clipping}>${element}</g>` : element);
  }

  /**
   * Take in what another context drew, moved to a place.
   * @param {SvgContext} other @param {number} x @param {number} y
   */
  place(other, x, y) {
    this.parts.push(`<g transform="translate(${round(x)} ${round(y)})">`, ...other.parts, "</g>");
  }

  /** All of it as a file that needs nothing else. @param {number} width @param {number} height @param {string} title */
  document(width, height, title) {
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const root = `<svg xmlns="http://www.w3.org/2000/svg" ${size}>`;
    return `${root}\n<title>${escaped(title)}</title>\n${this.parts.join("\n")}\n</svg>\n`;
  }

  placing() {
    const { a, b, c, d, e, f } = this.matrix;
    return this.matrix.isIdentity ? "" : ` transform="matrix(${[a, b, c, d, e, f].map(round).join(" ")})"`;
  }

  filling() {
    return `fill="${escaped(String(this.fillStyle))}"`;
  }

  stroking() {
    const dashes = this.dashes.length ? ` stroke-dasharray="${this.dashes.join(" ")}"` : "";
    const style = escaped(String(this.strokeStyle));
    return `fill="none" stroke="${style}" stroke-width="${round(this.lineWidth)}"${dashes}`;
  }
}

/** At most three decimals. @type {(value: number) => number} */
function round(value) {
  return Math.round(value * 1000) / 1000;
}

/** @type {(x: number, y: number, width: number, height: number) => string} */
function box(x, y, width, height) {
  return `x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
}

/** Text that can stand in XML. @type {(text: string) => string} */
function escaped(text) {
  const allowed = text.toWellFormed().replace(/[^\P{Cc}\t\n\r]|[\ufffe\uffff]/gu, "\ufffd");
  return allowed.replace(/[<>&"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/**
 * For each colour of an image, a path through its pixels, neighbours in a row taken together.
 * @type {(image: HTMLCanvasElement) => Map<string, string>}
 */
function runsByColour(image) {
  const { width, height } = image;
  const context = /** @type {CanvasRenderingContext2D} */ (image.getContext("2d"));
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  /** @type {Map<string, string>} */
  const paths = new Map();
  for (let from = 0, to = 1; from < pixels.length; from = to, to += 1) {
    const row = Math.floor(from / width);
    while (to < (row + 1) * width && pixels[to] === pixels[from]) to += 1;
    if (!(pixels[from] >>> 24)) continue;
    const [r, g, b] = [pixels[from] & 255, (pixels[from] >> 8) & 255, (pixels[from] >> 16) & 255];
    const colour = `rgb(${r},${g},${b})`;
    const run = `M${from - row * width} ${row}h${to - from}v1h${from - to}z`;
    paths.set(colour, (paths.get(colour) ?? "") + run);
  }
  return paths;
}
