"""What happened when: the heads whose effect changed from one pass to the next by more than noise explains."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwatch.cell_names import Place, cell_name, places_at
from headwatch.data_frame import data_frame
from headwatch.record.change_points import kept
from headwatch.record.comparison import Comparison, comparison
from headwatch.record.reader import Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Event:
    """A change from one pass to the next that is more than noise.

    Attributes:
        label: the series.
        before: the step of the pass before it.
        after: the step of the pass after it.
        cell: the head's short name, such as `L9H6`.
        place: its layer and head, or where else it is.
        change: after − before, in the metric's unit.
        low: the lower end of its 95 % interval.
        high: the upper end.
        p: how probable such a change is where there is none.
    """

    label: str
    before: int
    after: int
    cell: str
    place: tuple[Place, ...]
    change: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, repr=False)
class Events:
    """The events of a run, by step.

    Example:
        >>> found = hw.events("headwatch_runs/my-run")
        >>> found
        Events(... in 3 comparisons of passes; 0.17 by chance if nothing had changed)
        >>> found.events[0].cell, found.events[0].after
        (..., 20)

    Attributes:
        events: each head that changed by more than noise explains, by step and series, the largest change first.
        comparisons: how many times a pass was compared with the one before.
        by_chance: how many events chance would give if nothing had changed at any step.
        problems: a sentence for each pass that couldn't be compared.
    """

    events: tuple[Event, ...]
    comparisons: int
    by_chance: float
    problems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __repr__(self) -> str:
        chance = f"{self.by_chance:.2g} by chance if nothing had changed"
        return f"Events({len(self)} in {self.comparisons} comparisons of passes; {chance})"

    def to_dataframe(self) -> "pd.DataFrame":
        """One row an event, with a column for each of its attributes.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return data_frame([vars(event) for event in self.events], [*Event.__dataclass_fields__])


def events(run: Record | Path | str, *, label: str | None = None, q: float = 0.05) -> Events:
    """The heads whose effect changed from one pass to the next by more than noise explains.

    Example:
        >>> for event in hw.events("headwatch_runs/my-run"):
        ...     print(event.before, event.after, event.cell, f"{event.change:+.2f}")
        0 20 ...

    Each pass is compared with the one before on the same pairs; among its heads those are listed whose change is
    significant by Benjamini and Hochberg's procedure (1995).

    Args:
        run: a record, or its folder.
        label: the series; None for all.
        q: the share of false ones among the events of a pass, on average.

    Raises:
        FileNotFoundError: the folder holds no record.
        ValueError: no such series, or a q that is not between 0 and 1.
    """
    record = run if isinstance(run, Record) else Record.read(run)
    labels = sorted({entry.label for entry in record.effects})
    if label is not None and label not in labels:
        raise ValueError(f"{record.directory} has no series {label!r}: it has {labels}")
    found: list[Event] = []
    problems: list[str] = []
    changes = [
        change for name in labels if label in (None, name) for change in _changes(record, name, problems)
    ]
    for change in sorted(changes, key=lambda change: change.after.step):
        found += _events(change, q)
    by_chance = sum((change.expected_by_chance(q) for change in changes), 0.0)
    return Events(tuple(found), len(changes), by_chance, tuple(problems))


def _changes(record: Record, label: str, problems: list[str]) -> Iterator[Comparison]:
    """Each pass of a series compared with the one before; those that can't be are told."""
    entries = [entry for entry in record.effects if entry.label == label]
    for (before, old), (after, new) in pairwise(kept(record.directory, entries, problems)):
        try:
            yield comparison(before, after, old, new)
        except ValueError as problem:
            problems.append(str(problem))


def _events(change: Comparison, q: float) -> Iterator[Event]:
    marked = change.significant(q)
    if not marked.any():
        return
    low, high = change.interval()
    where = sorted(np.argwhere(marked).tolist(), key=lambda at: -abs(change.mean[tuple(at)]))
    for index in map(tuple, where):
        place = places_at(change.coords, index)
        numbers = (float(values[index]) for values in (change.mean, low, high, change.p_values()))
        yield Event(
            change.after.label,
            change.before.step,
            change.after.step,
            cell_name(change.dims, place),
            place,
            *numbers,
        )
