"""What a run's effects on every pair say: which changes are more than noise, and since when a head matters.

Worked out here, so that the page only draws. A run of many passes is looked at at 40 of them, evenly spaced, and not
every pass is compared with every other: a run of 12 is, a longer one's passes with the first, the one before and the
last.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from headwatch.page.packed import bits, halves, number
from headwatch.page.series_payload import interval_half, keyframes, question_payload, same_question
from headwatch.record import EffectEntry, Record, change_points, events
from headwatch.record.change_points import Pass, kept
from headwatch.record.comparison import Comparison, comparison
from headwatch.record.events import Event

MOST_PASSES = 40
ALL_WITH_ALL = 12  # passes of which every two are compared
Q = 0.05


def findings_payload(record: Record) -> list[dict[str, Any]]:
    """Of each series of effects per head that keeps the effect on every pair: changes, shifts and events."""
    groups = [keyframes(group, MOST_PASSES) for group in same_question(_comparable(record))]
    return [_findings(record, group) for group in groups if len(group) > 1]


def _comparable(record: Record) -> list[EffectEntry]:
    """Passes that a map with a row per layer shows."""
    mapped = [entry for entry in record.effects if entry.dims[0] == "layer" and len(entry.dims) <= 2]
    return [entry for entry in mapped if entry.per_pair is not None]


def _findings(record: Record, entries: list[EffectEntry]) -> dict[str, Any]:
    unreadable: list[str] = []
    passes = list(kept(record.directory, entries, unreadable))
    shown = replace(record, effects=tuple(entry for entry, _ in passes))
    found = events(shown, q=Q)
    return {
        **question_payload(entries[0]),
        "problems": unreadable,
        "changes": _changes(passes),
        "shifts": _shifts(shown, entries[0].label),
        "events": [_event(event) for event in found],
        "comparisons": found.comparisons,
        "by_chance": number(found.by_chance),
    }


def _changes(passes: list[Pass]) -> list[dict[str, Any]]:
    """Each change with its 95 % interval and a bit per cell: whether it is more than noise."""
    found = [_compared(passes[before], passes[after]) for before, after in which_to_compare(len(passes))]
    return [_change(change) for change in found if change is not None]


def which_to_compare(passes: int) -> list[tuple[int, int]]:
    """Of which passes to compare which: all of a few; of many with the first, the one before and the last."""
    if passes <= ALL_WITH_ALL:
        return list(combinations(range(passes), 2))
    last = passes - 1
    first_to_each = {(0, after) for after in range(1, passes)}
    one_to_next = {(before, before + 1) for before in range(last)}
    each_to_last = {(before, last) for before in range(last)}
    return sorted(first_to_each | one_to_next | each_to_last)


def _compared(before: Pass, after: Pass) -> Comparison | None:
    """None for passes on other pairs."""
    try:
        return comparison(before[0], after[0], before[1], after[1])
    except ValueError:
        return None


def _change(change: Comparison) -> dict[str, Any]:
    found = change.difference
    return {
        "before": change.before.step,
        "after": change.after.step,
        "mean": halves([change.mean]),
        "half": halves([interval_half(found.stderr, found.degrees_of_freedom)]),
        "marks": bits(change.significant(Q)),
        "by_chance": number(change.expected_by_chance(Q)),
    }


def _shifts(record: Record, label: str) -> list[dict[str, Any]]:
    """When each head came to matter, or ceased to, where that is more than noise."""
    try:
        found = change_points(record, label=label).found
    except ValueError:  # too few passes on the same pairs
        return []
    columns = {name: np.ravel(values) for name, values in vars(found).items()}
    marked: Sequence[int] = np.flatnonzero(found.significant(Q)).tolist()
    names = ("step", "low", "high", "before", "after")
    return [{"cell": cell} | {name: number(float(columns[name][cell])) for name in names} for cell in marked]


def _event(event: Event) -> dict[str, Any]:
    numbers = {"change": number(event.change), "half": number(event.high - event.change)}
    return {"before": event.before, "after": event.after, "place": [*event.place, 0][:2]} | numbers
