// @ts-check
// What happened when: the heads that changed from one pass to the next by more than noise explains, the latest first.

import { byId, inside } from "./dom.js";
import { formatInterval, formatNumber, formatSigned, formatStep } from "./format.js";
import { pick, state } from "./state.js";

/** @import { Series } from "./series.js" */
/** @import { ChangeEvent } from "./types.js" */

const MOST = 300;
let shownKey = "";

/** Fill the list, only where it differs. @type {(series: Series, version: string) => void} */
export function showEvents(series, version) {
  const key = [series.key, version].join("|");
  if (key === shownKey) return;
  shownKey = key;
  const { events, comparisons, byChance } = series.findings;
  const list = byId("events");
  list.hidden = !comparisons;
  const several = events.length === 1 ? "change" : "changes";
  const chance = `${formatNumber(byChance)} by chance if nothing had changed`;
  inside(list, "summary").textContent =
    `${events.length} ${several} from pass to pass beyond noise, in ${comparisons} comparisons; ${chance}`;
  const latest = events.toReversed().slice(0, MOST);
  inside(list, "ol").replaceChildren(...latest.map((event) => itemOf(series, event)));
}

/** A line that leads to the change. @type {(series: Series, event: ChangeEvent) => HTMLElement} */
function itemOf(series, { before, after, place, change, half }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = series.nameOf(place);
  button.setAttribute(
    "aria-label",
    `Show ${series.nameOf(place)} from step ${formatStep(before)} to step ${formatStep(after)}`,
  );
  button.addEventListener("click", (event) => {
    Object.assign(state, { step: after, since: before });
    pick(place, event.shiftKey);
  });
  const sign = change > 0 ? "+" : "";
  const size = Number.isFinite(half) ? `${sign}${formatInterval(change, half)}` : formatSigned(change);
  item.append(button, ` step ${formatStep(before)} to ${formatStep(after)}: ${size}`);
  return item;
}
