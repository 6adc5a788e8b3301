"use strict";
// How numbers, units and names are written.

const METRICS = {
  loss: ["loss", "nats"],
  sequence_loss: ["sequence loss", "nats per token"],
  logit_diff: ["logit difference", "logits"],
  kl: ["KL to the clean run", "nats"],
  prob: ["probability", ""],
  accuracy: ["accuracy", ""],
};

/** Three significant digits, with a real minus sign; "–" for what is no number. */
function formatNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(1)
    : size >= 1000 ? value.toFixed(0) : value.toPrecision(3);
  return text.replaceAll("-", "−");
}

function formatSigned(value) {
  return (value > 0 ? "+" : "") + formatNumber(value);
}

/** A step with thin spaces between thousands. */
function formatStep(step) {
  return String(step).replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

/** Value and half-width of its 95% interval. */
function formatInterval(value, half) {
  return Number.isFinite(half) ? `${formatNumber(value)} ± ${formatNumber(half)}` : formatNumber(value);
}

/** "previous_token" to "Previous token". */
function titleCase(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function metricName(metric) {
  return metric in METRICS ? METRICS[metric][0] : metric.replaceAll("_", " ");
}

function metricUnit(metric) {
  return metric in METRICS ? METRICS[metric][1] : "";
}

/** What the values of a series are, and in which unit. */
function quantity(series, normalized) {
  if (series.kind === "score") return { name: titleCase(series.metric), unit: "" };
  if (normalized) return { name: `Normalised ${metricName(series.metric)}`, unit: "0 = corrupted, 1 = clean" };
  if (series.probe === "gradients") return { name: titleCase(series.metric), unit: "" };
  return { name: `Δ ${metricName(series.metric)}`, unit: metricUnit(series.metric) };
}

function withUnit({ name, unit }) {
  return unit ? `${name} (${unit})` : name;
}

/** What people call a series: its question first. */
function seriesTitle(series) {
  if (series.kind === "score") return titleCase(series.metric);
  const asked = {
    ablation: `${titleCase(series.kind)} ablation of ${series.site}`,
    patching: `Patching ${series.site}, ${series.kind}`,
    gradients: "Gradient importance",
  }[series.probe] ?? `${titleCase(series.probe)} of ${series.site}, ${series.kind}`;
  const estimate = series.exact ? "" : " (first-order)";
  return `${asked}${estimate} → ${metricName(series.metric)}`;
}

const T_TABLE = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/** The two-sided 95% quantile of Student's t for n pairs. */
function tQuantile(n) {
  if (n < 2) return NaN;
  const freedom = n - 1;
  return freedom <= 10 ? T_TABLE[freedom - 1] : 1.96 + 2.37 / freedom + 2.8 / freedom ** 2;
}

const HEAD_DIMS = ["layer", "head"];

/** "L9H9"; "L9" and "L9N7" where a series is over whole layers or neurons. */
function headName([layer, column], dims = heads.view.series?.dims) {
  const letter = dims && dims[1] ? dims[1].charAt(0).toUpperCase() : dims ? "" : "H";
  return `L${layer}${letter}${letter && column}`;
}
