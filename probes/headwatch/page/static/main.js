"use strict";
// Start, and redraw: at most once a frame, each card only what changed.

const cards = [heads, trajectory, changes, thumbnails, attention, position];
let source = null;
let waiting = false;

/** Draw soon. */
function refresh() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; redraw(); });
}

/** The reader chose something: keep it in the link, and draw. */
function changed() {
  saveLink();
  refresh();
}

function redraw() {
  if (!source) return;
  const start = performance.now();
  const view = { source, ...lookUp(source.runs) };
  heads.view = view;
  showControls(view);
  for (const card of cards) card.draw(view);
  showAbout(view);
  performance.clearMeasures("headwatch:redraw");
  performance.measure("headwatch:redraw", { start, end: performance.now() });
}

/** The footer: what the pass was, and what the record's writers or its reader noted. */
function showAbout(view) {
  const point = view.index >= 0 ? view.series.points[view.index] : null;
  const parts = [];
  if (view.run?.loaded) parts.push(Object.entries(view.run.model).map(([name, size]) => `${name.replace(/^n_/, "")} ${size}`).join(", "));
  if (point?.n) parts.push(`${point.n} pairs`);
  if (Number.isFinite(point?.baseline)) parts.push(`baseline ${metricName(view.series.metric)} ${formatNumber(point.baseline)}`);
  if (point?.seconds) parts.push(`pass took ${formatNumber(point.seconds)} s`);
  const about = parts.filter(Boolean).join(" · ");
  if (control("about").textContent !== about) control("about").textContent = about;
  showNotes(view.run);
}

function showNotes(run) {
  const lines = run ? [...run.notes.map((note) => `${note.level}: ${note.message}`), ...run.problems] : [];
  const notes = control("notes");
  notes.hidden = !lines.length;
  if (notes.childElementCount && notes.dataset.count === String(lines.length)) return;
  notes.dataset.count = lines.length;
  notes.querySelector("summary").textContent = `${lines.length} ${lines.length === 1 ? "note" : "notes"} on this run`;
  notes.querySelector("ul").replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

/** Decode a report's frames while nothing else happens, so that the slider never waits for one. */
async function warmUp(run) {
  for (const group of run.frames.values()) {
    for (const frame of group.items) {
      await new Promise((resolve) => { setTimeout(resolve, 0); });
      readyFrame(source, run, frame, refresh);
    }
  }
}

function start() {
  readLink(location.hash);
  useTheme();
  const data = JSON.parse(document.getElementById("data").textContent);
  source = data.live ? liveSource(refresh, showLive) : embeddedSource(data);
  source.wanted = () => {
    const { run } = lookUp(source.runs);
    return source.runs.filter((known) => known === run || known.name === state.other);
  };
  cards.forEach(addTools);
  cards.forEach(watchSize);
  bindControls();
  addEventListener("hashchange", () => { readLink(location.hash); useTheme(); refresh(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { useTheme(); refresh(); });
  redraw();
  performance.mark("headwatch:ready");
  source.start();
  if (!data.live) source.runs.forEach(warmUp);
}

start();
