// @ts-check
// A card of the page, the one tooltip, and what is said to a screen reader.

import { byId, inside } from "./dom.js";
import { refresh } from "./redraw.js";

/** @import { Card } from "./types.js" */

/** A card by its id. @type {(id: string) => Card} */
export function makeCard(id) {
  const root = byId(id);
  const empty = inside(root, ".empty");
  return {
    id,
    root,
    stage: root.querySelector(".stage") ? inside(root, ".stage") : root,
    empty,
    key: null,
    size: { width: 0, height: 0 },
    title: () => inside(root, "h2").textContent ?? "",
    say: (message) => {
      empty.hidden = message === null;
      empty.textContent = message ?? "";
      for (const part of root.children) {
        if (part !== empty && part.tagName !== "HEADER") part.classList.toggle("offscreen", message !== null);
      }
    },
  };
}

/**
 * Keep `card.size` at the size of its stage, and draw again when that changes.
 * @type {(card: Card) => void}
 */
export function watchSize(card) {
  if (card.stage === card.root) return;
  new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    if (Math.abs(width - card.size.width) < 1 && Math.abs(height - card.size.height) < 1) return;
    card.size = { width: Math.floor(width), height: Math.floor(height) };
    card.key = null;
    refresh();
  }).observe(card.stage);
}

/** Show lines of text beside the pointer. @type {(event: MouseEvent, lines: string[]) => void} */
export function showTip(event, lines) {
  const tip = byId("tip");
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const { clientX, clientY } = event;
  const x = clientX + 14 + box.width > innerWidth ? clientX - box.width - 10 : clientX + 14;
  const y = clientY + 16 + box.height > innerHeight ? clientY - box.height - 10 : clientY + 16;
  tip.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
}

export function hideTip() {
  byId("tip").hidden = true;
}

/** Say something to a screen reader. @type {(text: string) => void} */
export function announce(text) {
  byId("announce").textContent = text;
}
