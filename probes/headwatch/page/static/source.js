// @ts-check
// Where data comes from: embedded in a report, or asked from the live server again and again.

import { inflate } from "./decode.js";
import { Run } from "./runs.js";

/** @import { Frame, FramePayload, ReadyFrame, RunPayload, Source } from "./types.js" */

const POLL_MS = 1000;

/** A report: everything is in the page. @type {(data: {runs: RunPayload[]}) => Source} */
export function embeddedSource(data) {
  const runs = data.runs.map((payload, id) => {
    const run = new Run(id, payload.name);
    run.merge(payload);
    return run;
  });
  const maps = async () => {
    throw new Error("not in this report");
  };
  const findings = async () => []; // they came with the runs
  return { live: false, runs, problems: [], wanted: () => runs, start: () => {}, maps, findings };
}

/**
 * A live page: polls for new lines of the runs that are shown.
 * @type {(onChange: () => void, onTrouble: (trouble: unknown) => void) => Source}
 */
export function liveSource(onChange, onTrouble) {
  /** @type {Source} */
  const source = {
    live: true,
    runs: [],
    problems: [],
    wanted: () => [],
    maps: (run, { step, label }) => ask("frame", { id: String(run.id), step: String(step), label }),
    findings: (run) => ask("findings", { id: String(run.id) }),
    start: async () => {
      const trouble = await poll(source).then((news) => {
        if (news && isWorthDrawing(source.wanted())) onChange();
        return null;
      }, String);
      onTrouble(trouble);
      const behind = trouble === null && source.wanted().some((run) => run.behind);
      setTimeout(source.start, behind ? 0 : POLL_MS);
    },
  };
  return source;
}

/** An answer of the server. @type {(path: string, query: Record<string, string>) => Promise<any>} */
async function ask(path, query) {
  const token = new URLSearchParams(location.search).get("token");
  /** @type {Record<string, string>} */
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { headers, cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.json();
}

/**
 * Whether enough was added to draw it: of a run that is still on its way, half as much again as was drawn, so that
 * drawing a long one takes no longer the more pages it comes in.
 * @type {(runs: Run[]) => boolean}
 */
function isWorthDrawing(runs) {
  const worth = !runs.length || runs.some((run) => !run.behind || run.cursor >= run.drawn * 1.5);
  if (worth) for (const run of runs) run.drawn = run.cursor;
  return worth;
}

/** Ask for what is new; true where something is. @type {(source: Source) => Promise<boolean>} */
async function poll(source) {
  const known = new Map(source.runs.map((run) => [run.id, run]));
  /** @type {{runs: {id: number, name: string}[], problems: string[]}} */
  const listed = await ask("runs", {});
  const news = listed.problems.join() !== source.problems.join();
  source.problems = listed.problems;
  source.runs = listed.runs.map(({ id, name }) => known.get(id) ?? new Run(id, name));
  const updated = await Promise.all(source.wanted().map(updateRun));
  await Promise.all(source.wanted().map((run) => updateFindings(source, run)));
  return news || updated.some(Boolean) || source.runs.length !== known.size;
}

/** Merge a page of what was appended to a run; true where something was. @type {(run: Run) => Promise<boolean>} */
async function updateRun(run) {
  const { payload, cursor, more } = await ask("run", { id: String(run.id), after: String(run.cursor) });
  run.behind = more;
  if (cursor === run.cursor && run.loaded) return false;
  run.cursor = cursor;
  run.merge(payload);
  return true;
}

/**
 * Ask for what the effects on every pair say once all of a run is here and it has a tenth more passes than when
 * it was last asked.
 * @type {(source: Source, run: Run) => Promise<void>}
 */
async function updateFindings(source, run) {
  if (run.behind) return;
  const passes = [...run.series.values()].reduce((sum, { steps }) => sum + steps.length, 0);
  if (passes < run.asked * 1.1 || passes === run.asked) return;
  run.asked = passes;
  run.learn(await source.findings(run));
}

/**
 * The frame with its maps decoded; null while they are on their way, when `onReady` is called once
 * they are there.
 * @type {(source: Source, run: Run, frame: Frame, onReady: () => void) => ReadyFrame | null}
 */
export function readyFrame(source, run, frame, onReady) {
  if (frame.bytes) return /** @type {ReadyFrame} */ (frame);
  if (!frame.asked) {
    frame.asked = true;
    loadFrame(source, run, frame).then(onReady, () => {
      frame.broken = true;
      onReady();
    });
  }
  return null;
}

/** @type {(source: Source, run: Run, frame: Frame) => Promise<void>} */
async function loadFrame(source, run, frame) {
  /** @type {FramePayload} */
  const payload = frame.maps ? frame : await source.maps(run, frame);
  Object.assign(frame, payload, { bytes: await inflate(payload.maps ?? ""), maps: null });
}
