"use strict";
// Helpers to draw on a canvas at the screen's resolution, and the one tooltip.

/** Give a canvas a size in CSS pixels, cleared, and return its context. */
function fit(canvas, width, height, ratio = window.devicePixelRatio || 1) {
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function font(size, family = palette.sans, weight = 400) {
  return `${weight} ${size}px ${family}`;
}

/** Write text; `align` and `baseline` as a canvas has them. */
function write(context, text, x, y, { align = "left", baseline = "middle", colour = palette.muted, style = font(11) } = {}) {
  context.font = style;
  context.fillStyle = colour;
  context.textAlign = align;
  context.textBaseline = baseline;
  context.fillText(text, x, y);
}

/** Text cut to a width, with an ellipsis. */
function clipped(context, text, width, style) {
  context.font = style;
  if (context.measureText(text).width <= width) return text;
  const letters = Array.from(text);
  while (letters.length && context.measureText(`${letters.join("")}…`).width > width) letters.pop();
  return `${letters.join("")}…`;
}

/** A horizontal bar of a scale with numbers at its ends and its middle. */
function drawLegend(canvas, width, scale, title) {
  const context = fit(canvas, width, 36);
  const colours = scale.diverging ? palette.divergingText : palette.sequentialText;
  const bar = Math.min(width, 300);
  for (let x = 0; x < bar; x++) {
    context.fillStyle = colours[Math.round((x / (bar - 1)) * (LEVELS - 1))];
    context.fillRect(x, 0, 1.5, 10);
  }
  context.strokeStyle = palette.line;
  context.strokeRect(0.5, 0.5, bar - 1, 9);
  const low = scale.diverging ? scale.centre - scale.reach : scale.low;
  const high = scale.diverging ? scale.centre + scale.reach : scale.high;
  write(context, formatNumber(low), 0, 20);
  write(context, formatNumber((low + high) / 2), bar / 2, 20, { align: "center" });
  write(context, formatNumber(high), bar, 20, { align: "right" });
  if (width > bar + 90) write(context, clipped(context, title, width - bar - 14, font(11)), bar + 14, 5);
}

/** Keep `card.size` at the size of its stage, and draw again when that changes. */
function watchSize(card) {
  if (!card.stage) return;
  new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    if (Math.abs(width - card.size.width) < 1 && Math.abs(height - card.size.height) < 1) return;
    Object.assign(card, { size: { width: Math.floor(width), height: Math.floor(height) }, key: null });
    refresh();
  }).observe(card.stage);
}

const tip = document.getElementById("tip");

/** Show lines of text beside the pointer. */
function showTip(event, lines) {
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const x = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 10 : event.clientX + 14;
  const y = event.clientY + 16 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16;
  tip.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
}

function hideTip() {
  tip.hidden = true;
}

/** Say something to a screen reader. */
function announce(text) {
  document.getElementById("announce").textContent = text;
}

/** Where the pointer is on a canvas, in CSS pixels. */
function pointerOn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/** One card: its parts, the size of its stage, and what it says where it has nothing to draw. */
function makeCard(id) {
  const root = document.getElementById(id);
  const stage = root.querySelector(".stage");
  const empty = root.querySelector(".empty");
  const card = { id, root, stage, empty, key: null, size: { width: 0, height: 0 } };
  card.title = () => root.querySelector("h2").textContent;
  /** Show a message in place of the drawing; null takes it away. */
  card.say = (message) => {
    empty.hidden = message === null;
    empty.textContent = message ?? "";
    for (const part of root.children) {
      if (part !== empty && part.tagName !== "HEADER") part.classList.toggle("offscreen", message !== null);
    }
  };
  return card;
}
