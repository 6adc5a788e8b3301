// @ts-check
// The page's own elements, which are there or the page is broken.

/** @type {(id: string) => HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * The first element inside another that a selector finds.
 * @type {(root: Element, selector: string) => HTMLElement}
 */
export function inside(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`#${root.id} has no ${selector}`);
  return found;
}

/** @type {(root: Element) => HTMLCanvasElement[]} */
export function canvasesIn(root) {
  return [...root.querySelectorAll("canvas")];
}

/** @type {(id: string) => HTMLInputElement} */
export function inputById(id) {
  return /** @type {HTMLInputElement} */ (byId(id));
}

/** @type {(id: string) => HTMLSelectElement} */
export function selectById(id) {
  return /** @type {HTMLSelectElement} */ (byId(id));
}

/** @type {(id: string) => HTMLButtonElement} */
export function buttonById(id) {
  return /** @type {HTMLButtonElement} */ (byId(id));
}

/** A coloured mark before a head's name. @type {(colour: string) => HTMLElement} */
export function swatch(colour) {
  const mark = document.createElement("i");
  mark.className = "swatch";
  mark.style.color = colour;
  return mark;
}
