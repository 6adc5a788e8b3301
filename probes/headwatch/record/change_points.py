"""When did each head of a series come to matter: its change point, from what a record keeps of every pair."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from headwatch.cell_names import Coords
from headwatch.record.comparison import check_same_question
from headwatch.record.effect_entry import EffectEntry
from headwatch.record.per_pair import PerPair, read_per_pair
from headwatch.record.reader import Record
from headwatch.statistics.change_point import LEAST_PROBES, ChangePoint, find_change_point

Pass = tuple[EffectEntry, PerPair]


@dataclass(frozen=True, eq=False)
class SeriesChangePoints:
    """Where the trajectories of a series shift most.

    Attributes:
        label: the series.
        steps: the steps of the passes that were looked at.
        dims: what the axes of the change points are, such as `("layer", "head")`.
        coords: which layers, heads and so on the places on each axis are.
        found: step, interval, level before and after, and p-value, `[*dims]` each.
    """

    label: str
    steps: tuple[int, ...]
    dims: tuple[str, ...]
    coords: Coords
    found: ChangePoint


def change_points(
    run: Record | Path | str, *, label: str | None = None, up_to: int | None = None
) -> SeriesChangePoints:
    """When each head of a series came to matter, or ceased to: the one shift that explains most of its trajectory.

    Example:
        >>> series = hw.change_points("headwatch_runs/my-run", label="ablation/z/mean/loss")
        >>> series.found.step.shape                                        # [layer, head], in steps
        (12, 12)
        >>> came_to_matter = series.found.significant(q=0.05)

    The interval in steps is honest, and 5 to 6 passes wide with 64 pairs: a finer schedule narrows it. Where passes are
    on different numbers of pairs, those that all have are looked at.

    Args:
        run: a record, or its folder.
        label: the series; None where the record has but one.
        up_to: the last step to look at; None for all.

    Raises:
        FileNotFoundError: the folder holds no record.
        ValueError: no such series, several and no label, or fewer than 4 passes on at least half of the last one's
            pairs.
    """
    record = run if isinstance(run, Record) else Record.read(run)
    label = only_label(record) if label is None else label
    entries = [
        entry for entry in record.effects if entry.label == label and (up_to is None or entry.step <= up_to)
    ]
    problems: list[str] = []
    passes = _like_the_last(kept(record.directory, entries, problems))
    if len(passes) < LEAST_PROBES:
        also = f" ({problems[0]})" if problems else ""
        raise ValueError(
            f"{label} has {len(passes)} passes with values of every pair on the same pairs: a change point needs "
            f"{LEAST_PROBES}{also}"
        )
    steps = tuple(entry.step for entry, _ in passes)
    common = reduce(np.intersect1d, (values.pairs for _, values in passes))
    values = np.stack([values.of_every_pair for values in (values.of(common) for _, values in passes)])
    last = passes[-1][0]
    return SeriesChangePoints(
        label, steps, last.dims, last.coords, find_change_point(values, np.array(steps))
    )


def only_label(record: Record) -> str:
    """The label of a record's only series of effects.

    Raises:
        ValueError: it has none or several.
    """
    labels = sorted({entry.label for entry in record.effects})
    if len(labels) != 1:
        raise ValueError(f"{record.directory} has {len(labels)} series, name one as label: {labels}")
    return labels[0]


def kept(directory: Path, entries: Iterable[EffectEntry], problems: list[str]) -> Iterable[Pass]:
    """The passes with their values of every pair; a sentence is added to `problems` for each that has none."""
    for entry in entries:
        try:
            yield entry, read_per_pair(directory, entry)
        except ValueError as problem:
            problems.append(str(problem))


def _like_the_last(passes: Iterable[Pass]) -> list[Pass]:
    """Those that asked what the last one asked, on half of its pairs or more."""
    found = list(passes)
    return [one for one in found if _same_question(one, found[-1]) and _share(one, found[-1]) >= 0.5]


def _same_question(one: Pass, other: Pass) -> bool:
    try:
        check_same_question(one[0], other[0])
    except ValueError:
        return False
    return True


def _share(one: Pass, other: Pass) -> float:
    """The share of the other's pairs that the one has too."""
    return float(np.isin(other[1].pairs, one[1].pairs).mean())
