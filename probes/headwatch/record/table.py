"""A record as one long table: a row per step, series and cell, for notebooks and spreadsheets.

| column | what it holds |
|---|---|
| `step`, `epoch` | the optimizer step and the epoch of the pass |
| `probe` | the question: `ablation`, `patching`, `gradients`, `scores` |
| `series` | the pass's label, such as `ablation/z/mean/loss` |
| `metric` | the metric's name, or the score's |
| `cell` | the cell's short name, such as `L9H6` |
| `layer`, `head`, `position`, `neuron` | where it is; empty where the series has no such axis |
| `set` | the heads of a set, such as `L9H6+L10H0` |
| `value` | the effect averaged over pairs, in the metric's unit, or the score; NaN where it is no number |
| `stderr`, `low`, `high` | its standard error and its 95 % interval; empty where there are none |
| `n` | the number of pairs; empty for scores |
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from headwatch.cell_names import Place, cell_name, place_name
from headwatch.record.entries import EffectEntry, ScoreEntry
from headwatch.record.reader import Record
from headwatch.statistics.intervals import interval

AXES = ("layer", "head", "position", "neuron", "set")
COLUMNS = (
    *("step", "epoch", "probe", "series", "metric", "cell"),
    *AXES,
    *("value", "stderr", "low", "high", "n"),
)
Row = tuple[int | float | str | None, ...]


def table(record: Record) -> Iterator[Row]:
    """The rows of a record in the order of its passes, with the columns of `COLUMNS`.

    Raises:
        ValueError: a series has an axis that the table has no column for.
    """
    for entry in record.probes:
        yield from _score_rows(entry) if isinstance(entry, ScoreEntry) else _effect_rows(entry)


def _effect_rows(entry: EffectEntry) -> Iterator[Row]:
    unknown = [name for name in entry.dims if name not in AXES]
    if unknown:
        raise ValueError(
            f"series {entry.label!r} has the axis {unknown[0]!r}, the table has only {list(AXES)}"
        )
    shown = (entry.step, entry.epoch, entry.probe, entry.label, entry.metric)
    ends = interval(entry.mean, entry.stderr, entry.t_degrees_of_freedom)
    axes = [entry.coords[axis] for axis in entry.dims]
    for index in np.ndindex(entry.mean.shape):
        places = [axis[at] for axis, at in zip(axes, index, strict=True)]
        uncertain = (_shortest(values[index]) for values in (entry.stderr, *ends))
        yield (*shown, *_place_cells(entry.dims, places), _value(entry.mean[index]), *uncertain, entry.n)


def _score_rows(entry: ScoreEntry) -> Iterator[Row]:
    for name, values in entry.scores.items():
        shown = (entry.step, entry.epoch, "scores", entry.label, name)
        for index in np.ndindex(values.shape):
            places = _place_cells(("layer", "head"), index)
            yield (*shown, *places, _value(values[index]), None, None, None, None)


def _place_cells(dims: Sequence[str], places: Sequence[Place]) -> Row:
    at = dict(zip(dims, places, strict=True))
    return (cell_name(dims, places), *(_place(axis, at.get(axis)) for axis in AXES))


def _place(axis: str, place: Place | None) -> int | str | None:
    if place is None or (isinstance(place, int) and axis != "set"):
        return place
    return place_name(axis, place)


def _value(value: Any) -> float:
    shortest = _shortest(value)
    return math.nan if shortest is None else shortest


def _shortest(value: Any) -> float | None:
    # The fewest digits that give the same 32-bit float: 0.1, not 0.10000000149.
    return float(str(np.float32(value))) if math.isfinite(value) else None
