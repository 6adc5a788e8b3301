// @ts-check
// Lists that are kept in the order of their steps.

/**
 * The last index whose step is at most `step`; -1 where there is none.
 * @type {(steps: number[], step: number) => number}
 */
export function indexAt(steps, step) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Put an item at its step, in place of one that is there.
 * @type {<T>(steps: number[], items: T[], step: number, item: T) => void}
 */
export function upsert(steps, items, step, item) {
  const at = indexAt(steps, step);
  if (at >= 0 && steps[at] === step) {
    items[at] = item;
    return;
  }
  steps.splice(at + 1, 0, step);
  items.splice(at + 1, 0, item);
}
