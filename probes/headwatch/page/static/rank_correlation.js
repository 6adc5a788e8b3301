// @ts-check
// How alike two lists order the same things: Spearman's rank correlation.

/**
 * Spearman's ρ over the places where both are numbers, equal values sharing their ranks' mean; NaN where fewer than
 * three are, or all of one list are equal.
 * @type {(first: number[], second: number[]) => number}
 */
export function rankCorrelation(first, second) {
  const known = [...first.keys()].filter((i) => Number.isFinite(first[i]) && Number.isFinite(second[i]));
  if (known.length < 3) return Number.NaN;
  const [a, b] = [first, second].map((values) => ranks(known.map((i) => values[i])));
  const middle = (known.length - 1) / 2;
  let [both, ofA, ofB] = [0, 0, 0];
  for (const i of known.keys()) {
    both += (a[i] - middle) * (b[i] - middle);
    ofA += (a[i] - middle) ** 2;
    ofB += (b[i] - middle) ** 2;
  }
  return ofA && ofB ? both / Math.sqrt(ofA * ofB) : Number.NaN;
}

/** Each value's place in the order, from 0. @type {(values: number[]) => number[]} */
function ranks(values) {
  const order = [...values.keys()].sort((i, j) => values[i] - values[j]);
  /** @type {number[]} */
  const result = [];
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]] === values[order[from]]) to += 1;
    for (const i of order.slice(from, to)) result[i] = (from + to - 1) / 2;
  }
  return result;
}
