// @ts-check
// How numbers, units and names are written.

/** @import { Series } from "./series.js" */
/** @import { Place } from "./types.js" */

/** @type {Record<string, [name: string, unit: string]>} */
const METRICS = {
  loss: ["loss", "nats"],
  sequence_loss: ["sequence loss", "nats per token"],
  logit_diff: ["logit difference", "logits"],
  kl: ["KL to the clean run", "nats"],
  prob: ["probability", ""],
  accuracy: ["accuracy", ""],
};

/**
 * Three significant digits, with a real minus sign; "–" for what is not there.
 * @type {(value?: number | null) => string}
 */
export function formatNumber(value) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const large = size >= 1000 ? value.toFixed(0) : value.toPrecision(3);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(1) : large;
  return text.replaceAll("-", "−");
}

/**
 * A number as a table's cell, where an empty one would mean that there is none.
 * @type {(value: number) => string | number}
 */
export function numberCell(value) {
  return Number.isFinite(value) ? value : formatNumber(value);
}

/** @type {(value: number) => string} */
export function formatSigned(value) {
  return (value > 0 ? "+" : "") + formatNumber(value);
}

/** A step with thin spaces between thousands; −1 is before training. @type {(step: number) => string} */
export function formatStep(step) {
  if (step === -1) return "−1 (before training)";
  return String(step).replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

/** Value and half-width of its 95% interval. @type {(value: number, half: number) => string} */
export function formatInterval(value, half) {
  return Number.isFinite(half) ? `${formatNumber(value)} ± ${formatNumber(half)}` : formatNumber(value);
}

/** "previous_token" to "Previous token". @type {(name: string) => string} */
export function titleCase(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @type {(metric: string) => string} */
export function metricName(metric) {
  return METRICS[metric]?.[0] ?? metric.replaceAll("_", " ");
}

/** @type {(metric: string) => string} */
export function metricUnit(metric) {
  return METRICS[metric]?.[1] ?? "";
}

/**
 * What the values of a series are, and in which unit.
 * @type {(series: Series, normalized: boolean) => {name: string, unit: string}}
 */
export function quantity(series, normalized) {
  if (series.isScore || series.probe === "gradients") return { name: titleCase(series.metric), unit: "" };
  const name = metricName(series.metric);
  if (normalized) return { name: `Normalised ${name}`, unit: "0 = corrupted, 1 = clean" };
  return { name: `Δ ${name}`, unit: metricUnit(series.metric) };
}

/** @type {(quantity: {name: string, unit: string}) => string} */
export function withUnit({ name, unit }) {
  return unit ? `${name} (${unit})` : name;
}

/** What people call a series: its question first. @type {(series: Series) => string} */
export function seriesTitle(series) {
  if (series.isScore) return titleCase(series.metric);
  /** @type {Record<string, string>} */
  const questions = {
    ablation: `${titleCase(series.kind)} ablation of ${series.site}`,
    patching: `Patching ${series.site}, ${series.kind}`,
    gradients: "Gradient importance",
  };
  const asked = questions[series.probe] ?? `${titleCase(series.probe)} of ${series.site}, ${series.kind}`;
  return `${asked}${series.firstOrder ? " (first-order)" : ""} → ${metricName(series.metric)}`;
}

/**
 * How a value was estimated, such as "estimate from 9 of 64 exact runs, covariates first order + last position,
 * R² 0.98"; nothing where every pair was run, or none.
 * @type {(series: Series, index: number, cell: number) => string[]}
 */
export function estimateLines(series, index, cell) {
  const { estimate, n } = series.points[index];
  if (!estimate || !series.estimated(index, cell)) return [];
  const all = estimate.covariate?.split("+").map((name) => name.trim().replaceAll("_", " ")) ?? [];
  const names = all.filter((name) => name && name !== "none");
  const known = names.length ? [`covariate${names.length > 1 ? "s" : ""} ${names.join(" + ")}`] : [];
  const explained = estimate.explained[cell];
  const share = Number.isFinite(explained) ? [`R² ${explained.toFixed(2)}`] : [];
  const runs = `estimate from ${estimate.nExact[cell]} of ${n} exact runs`;
  const doubt = "its interval is not to be trusted: the exact runs lack the tail that is known of it";
  return [[runs, ...known, ...share].join(", "), ...(series.suspect(index, cell) ? [doubt] : [])];
}

/** A head by its layer and number. @type {(head: Place) => string} */
export function headName([layer, head]) {
  return `L${layer}H${head}`;
}

/**
 * What a pass's value is followed by: its interval.
 * @type {(series: Series, index: number, cell: number, normalized: boolean) => string}
 */
export function formatEffect(series, index, cell, normalized) {
  return formatInterval(series.value(index, cell, normalized), series.half(index, cell, normalized));
}
