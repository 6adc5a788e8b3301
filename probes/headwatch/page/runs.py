"""The runs that a live page can show, each read once and then only where it grew."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwatch.page.findings import findings_payload
from headwatch.page.payload import maps_payload, run_payload
from headwatch.record import AttentionEntry, Entry, Record, Tail
from headwatch.record.description import read_description
from headwatch.record.find import find_records


@dataclass
class _Growing:
    """What was read of a run so far."""

    directory: Path
    tail: Tail
    entries: list[Entry] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


class Runs:
    """The runs in a directory, numbered in the order in which they are found; safe to use from several threads.

    Args:
        root: a run's record, or a directory with records in it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: list[_Growing] = []
        self._lock = threading.Lock()

    def listed(self) -> dict[str, Any]:
        """Number and name of each run, the newest first, and a sentence for each that this headwatch can't read."""
        with self._lock:
            known = {run.directory for run in self._known}
            fresh = [directory for directory in find_records(self._root) if directory not in known]
            self._known += [_Growing(directory, Tail(directory)) for directory in fresh]
            runs = [(number, run.directory) for number, run in enumerate(self._known)]
        readable: list[tuple[int, Path, str]] = []
        problems: list[str] = []
        for number, directory in runs:
            try:
                readable.append((number, directory, read_description(directory).name))
            except (ValueError, OSError) as problem:
                problems.append(str(problem))
        readable.sort(key=lambda run: _changed(run[1]), reverse=True)
        named = [{"id": number, "name": name} for number, _, name in _distinct(readable)]
        return {"runs": named, "problems": problems}

    def update(self, number: int, after: int) -> dict[str, Any]:
        """What was appended to a run after its first `after` entries, and how many there are now.

        Raises:
            LookupError: there is no run of that number.
            ValueError: its description is damaged.
        """
        with self._lock:
            run = self._run(number)
            entries, problems = run.tail.poll()
            run.problems += [(len(run.entries), problem) for problem in problems]
            run.entries += entries
            fresh, cursor = run.entries[after:], len(run.entries)
            new_problems = [problem for place, problem in run.problems if place >= after]
        record = _record(run, fresh, new_problems)
        payload = run_payload(record)
        return {"payload": payload, "cursor": cursor}

    def findings(self, number: int) -> list[dict[str, Any]]:
        """What the effects on every pair say, of all that is known of a run.

        Raises:
            LookupError: there is no run of that number.
            ValueError: its description is damaged.
        """
        with self._lock:
            run = self._run(number)
            entries = list(run.entries)
        return findings_payload(_record(run, entries, []))

    def frame(self, number: int, step: int, label: str) -> dict[str, Any]:
        """The attention maps of a step and series.

        Raises:
            LookupError: there is no such run or no such frame.
            ValueError: the frame's file is damaged.
        """
        with self._lock:
            run = self._run(number)
            frames = [entry for entry in run.entries if isinstance(entry, AttentionEntry)]
        for entry in reversed(frames):
            if (entry.step, entry.label) == (step, label):
                return maps_payload(_record(run, [entry], []), entry)
        raise LookupError(f"run {number} has no attention maps of step {step} in that series")

    def _run(self, number: int) -> _Growing:
        if number >= len(self._known):
            raise LookupError(f"there is no run {number}")
        return self._known[number]


def _record(run: _Growing, entries: list[Entry], problems: list[str]) -> Record:
    return Record.of(run.directory, read_description(run.directory), entries, problems)


def _changed(directory: Path) -> float:
    lines = directory / "probes.jsonl"
    return lines.stat().st_mtime if lines.exists() else 0.0


def _distinct(runs: list[tuple[int, Path, str]]) -> list[tuple[int, Path, str]]:
    """Runs of one name are told apart by their directories."""
    names = [name for _, _, name in runs]
    return [
        (number, directory, name if names.count(name) == 1 else f"{name} · {directory.name}")
        for number, directory, name in runs
    ]
