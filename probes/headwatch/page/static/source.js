"use strict";
// Where data comes from: embedded in a report, or asked from the live server again and again.

const POLL_MS = 1000;

/** A report: everything is in the page. */
function embeddedSource(data) {
  const runs = data.runs.map((payload, id) => {
    const run = new Run(id, payload.name);
    run.merge(payload);
    return run;
  });
  return { live: false, runs, start() {}, async maps() { throw new Error("not in this report"); } };
}

/** A live page: polls for new lines of the runs that are shown. */
function liveSource(onChange, onTrouble) {
  const token = new URLSearchParams(location.search).get("token");
  const source = { live: true, runs: [], wanted: () => [] };

  async function ask(path, query) {
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { headers, cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  }

  async function updateRun(run) {
    const { payload, cursor } = await ask("run", { id: run.id, after: run.cursor });
    if (cursor === run.cursor && run.loaded) return false;
    run.cursor = cursor;
    run.merge(payload);
    return true;
  }

  async function poll() {
    const known = new Map(source.runs.map((run) => [run.id, run]));
    const listed = (await ask("runs", {})).runs;
    source.runs = listed.map(({ id, name }) => known.get(id) ?? new Run(id, name));
    const updated = await Promise.all(source.wanted().map(updateRun));
    if (updated.some(Boolean) || source.runs.length !== known.size) onChange();
  }

  source.start = async () => {
    try {
      await poll();
      onTrouble(null);
    } catch (trouble) {
      onTrouble(trouble);
    }
    setTimeout(source.start, POLL_MS);
  };
  source.maps = (run, frame) => ask("frame", { id: run.id, step: frame.step, label: frame.label });
  return source;
}

/** The frame's maps, decoded; null while they are on their way, when `onReady` is called once they are there. */
function readyFrame(source, run, frame, onReady) {
  if (!frame || frame.bytes) return frame;
  if (!frame.asked) {
    frame.asked = true;
    loadFrame(source, run, frame).then(onReady, () => { frame.broken = true; onReady(); });
  }
  return null;
}

async function loadFrame(source, run, frame) {
  if (!frame.maps) Object.assign(frame, await source.maps(run, frame));
  frame.bytes = await inflate(frame.maps);
  frame.maps = null;
}
