"""A run that is being written, and whether its folder still holds what was read of it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from headwatch.record import Entry, Record, Tail
from headwatch.record.description import read_description

_HEAD = 4_096


@dataclass
class GrowingRun:
    """What was read of a run so far.

    Attributes:
        directory: the run's folder.
        tail: reads what is appended.
        entries: what was read.
        problems: what could not be read, each with the number of entries before it.
    """

    directory: Path
    tail: Tail
    entries: list[Entry] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    _seen: tuple[int, bytes] | None = None

    @classmethod
    def of(cls, directory: Path) -> "GrowingRun":
        """A run of which nothing was read yet."""
        return cls(directory, Tail(directory))

    def read_on(self) -> None:
        """Read what was appended."""
        entries, problems = self.tail.poll()
        self.problems += [(len(self.entries), problem) for problem in problems]
        self.entries += entries

    def is_same(self) -> bool:
        """Whether the folder still holds the record that was read, and not another that took its place."""
        seen, known = _look(self.directory / "probes.jsonl"), self._seen
        # A file's number is given again once it is free, so that its beginning counts too.
        same = known is None or (seen is not None and seen[0] == known[0] and seen[1].startswith(known[1]))
        if same:
            self._seen = seen
        return same

    def record(self, entries: list[Entry], problems: list[str]) -> Record:
        """A record of some of the entries.

        Raises:
            FileNotFoundError: the folder holds no record any more.
            ValueError: its description is damaged.
        """
        return Record.of(self.directory, read_description(self.directory), entries, problems)

    def changed(self) -> float:
        """When the run was last written to; 0 where nothing was."""
        try:
            return (self.directory / "probes.jsonl").stat().st_mtime
        except OSError:
            return 0.0


def _look(file: Path) -> tuple[int, bytes] | None:
    """The number and the beginning of a file; None where there is none."""
    try:
        with file.open("rb") as stream:
            return os.fstat(stream.fileno()).st_ino, stream.read(_HEAD)
    except OSError:
        return None
