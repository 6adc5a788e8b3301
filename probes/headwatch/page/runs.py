"""The runs that a live page can show, each read once and then only where it grew."""

import threading
from pathlib import Path
from typing import Any

from headwatch.page.findings import findings_payload
from headwatch.page.growing import GrowingRun
from headwatch.page.paging import page_end
from headwatch.page.payload import maps_payload, run_payload
from headwatch.page.run_names import run_names
from headwatch.page.shortened import shortened
from headwatch.record import AttentionEntry
from headwatch.record.description import read_description
from headwatch.record.find import find_records


class Runs:
    """The runs in a directory, numbered in the order in which they are found; safe to use from several threads.

    A folder that was removed and made again holds another run, of another number.

    Args:
        root: a run's record, or a directory with records in it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: list[GrowingRun] = []
        self._numbers: dict[Path, int] = {}  # of the run that a folder holds now
        self._lock = threading.Lock()

    def listed(self) -> dict[str, Any]:
        """Number and name of each run, the newest first, and a sentence for each that can't be read."""
        with self._lock:
            problems = self._look_again()
            runs = [(number, self._known[number]) for number in self._numbers.values()]
        readable: list[tuple[int, GrowingRun, str]] = []
        for number, run in runs:
            try:
                readable.append((number, run, read_description(run.directory).name))
            except (ValueError, OSError) as problem:
                problems.append(str(problem))
        readable.sort(key=lambda found: found[1].changed(), reverse=True)
        names = run_names([(name, run.directory) for _, run, name in readable])
        named = [{"id": number, "name": name} for (number, _, _), name in zip(readable, names, strict=True)]
        return {"runs": named, "problems": problems}

    def update(self, number: int, after: int) -> dict[str, Any]:
        """A page of what was appended to a run after its first `after` entries.

        With it come `cursor`, the number of entries up to its end, and `more`, whether there are others.

        Raises:
            LookupError: there is no run of that number, or its folder holds another one now.
            FileNotFoundError, ValueError: its description is gone or damaged.
        """
        with self._lock:
            run = self._run(number)
            run.read_on()
            end = page_end(run.entries, after)
            more = end < len(run.entries)
            page = run.entries[after:end]
            problems = [said for place, said in run.problems if after <= place and (place < end or not more)]
        payload = run_payload(run.record(page, problems))
        return {"payload": payload, "cursor": end, "more": more}

    def findings(self, number: int) -> list[dict[str, Any]]:
        """What the effects on every pair say, of all that is known of a run.

        Raises:
            LookupError, FileNotFoundError, ValueError: as `update`.
        """
        with self._lock:
            run = self._run(number)
            entries = list(run.entries)
        return findings_payload(run.record(entries, []))

    def frame(self, number: int, step: int, label: str) -> dict[str, Any]:
        """The attention maps of a step and series.

        Raises:
            LookupError: there is no such run or no such frame.
            FileNotFoundError, ValueError: the frame's file or the run's description is gone or damaged.
        """
        with self._lock:
            run = self._run(number)
            frames = [entry for entry in run.entries if isinstance(entry, AttentionEntry)]
        for entry in reversed(frames):
            if (entry.step, shortened(entry.label)) == (step, label):
                return maps_payload(run.record([entry], []), entry)
        raise LookupError(f"run {number} has no attention maps of step {step} in that series")

    def _look_again(self) -> list[str]:
        """Number the runs that are new, and forget those that are gone; what there is to say of it."""
        try:
            found = list(find_records(self._root))
        except OSError as problem:
            self._numbers.clear()
            return [f"{self._root} can't be read: {problem.strerror or problem}"]
        for gone in self._numbers.keys() - set(found):
            del self._numbers[gone]
        for directory in found:
            number = self._numbers.get(directory)
            if number is None or not self._known[number].is_same():
                self._numbers[directory] = len(self._known)
                self._known.append(GrowingRun.of(directory))
        return []

    def _run(self, number: int) -> GrowingRun:
        if number >= len(self._known):
            raise LookupError(f"there is no run {number}")
        run = self._known[number]
        if self._numbers.get(run.directory) != number or not run.is_same():
            raise LookupError(f"run {number} is no longer in {run.directory}")
        return run
