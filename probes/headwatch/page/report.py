"""A report: the page and what it shows of some runs in one HTML file, which needs no network and no server.

A run of 1,000 passes over 144 heads with 20 steps of attention maps is under 3 MB.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from headwatch.page.assemble import assemble, embed
from headwatch.page.findings import findings_payload
from headwatch.page.payload import maps_payload, run_payload
from headwatch.page.run_names import run_names
from headwatch.page.series_payload import keyframes
from headwatch.page.shortened import shortened
from headwatch.record import AttentionEntry, Record

FRAMES = 20
SIZE_BUDGET = 2_850_000  # characters of data, so that the whole file stays below 3 MB
VALUES_BUDGET = 1_960_000
LEAST_MAPS_BUDGET = 700_000


def report(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Write a self-contained HTML report of one or more runs.

    Example:
        >>> hw.report(["headwatch_runs/my-run"], "report.html").name
        'report.html'

    Args:
        runs: the runs' record directories; the first is shown first, the others can be compared with it.
        out: the HTML file.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: one of the directories holds no record.
        OSError: the file can't be written.
        ValueError: no run was given, or a record's `run.json` is damaged or of a newer format.
    """
    if not runs:
        raise ValueError("a report needs at least one run: pass the directory of its record")
    records = [Record.read(run) for run in runs]
    named = run_names([(record.name, record.directory.absolute()) for record in records])
    payloads = [
        _run(record, len(records)) | {"name": name} for record, name in zip(records, named, strict=True)
    ]
    names = shortened(", ".join(named))
    out = Path(out)
    page = assemble({"live": False, "runs": payloads}, title=f"{names} · headwatch")
    try:
        out.write_text(page, encoding="utf-8", errors="replace")
    except OSError as problem:
        raise type(problem)(f"{out} can't be written: {problem.strerror or problem}") from problem
    return out


def _run(record: Record, runs: int) -> dict[str, Any]:
    payload = run_payload(record, VALUES_BUDGET // runs) | {"findings": findings_payload(record)}
    left = SIZE_BUDGET // runs - len(embed(payload))
    frames, problems = _frames(record, max(left, LEAST_MAPS_BUDGET // runs))
    return payload | {"frames": frames, "problems": payload["problems"] + problems}


def _frames(record: Record, budget: int) -> tuple[list[dict[str, Any]], list[str]]:
    """At most 20 frames a series, of as many prompts as the budget allows."""
    ordered = sorted(record.frames, key=lambda entry: entry.label)
    groups = [list(group) for _, group in groupby(ordered, lambda entry: entry.label)]
    frames: list[dict[str, Any]] = []
    problems: list[str] = []
    for group in groups:
        packed, trouble = _fitting(record, keyframes(group, FRAMES), budget // len(groups))
        frames += [frame | {"kept": len(packed), "passes": len(group)} for frame in packed]
        problems += trouble
    return frames, problems


def _fitting(
    record: Record, entries: list[AttentionEntry], budget: int
) -> tuple[list[dict[str, Any]], list[str]]:
    # Fewer prompts first, then fewer steps: a prompt is enough to see a head change.
    prompts = max((len(entry.tokens) for entry in entries), default=0)
    while True:
        frames, problems = _pack(record, entries, prompts)
        size = sum(len(frame["maps"]) for frame in frames)
        if size <= budget or (prompts <= 1 and len(entries) <= 2):
            return frames, problems
        if prompts > 1:
            prompts = min(prompts - 1, max(1, prompts * budget // size))
        else:
            entries = keyframes(entries, max(2, len(entries) * budget // size))


def _pack(
    record: Record, entries: list[AttentionEntry], prompts: int
) -> tuple[list[dict[str, Any]], list[str]]:
    frames: list[dict[str, Any]] = []
    problems: list[str] = []
    for entry in entries:
        try:
            frames.append(maps_payload(record, entry, prompts))
        except ValueError as problem:
            problems.append(str(problem))
    return frames, problems
