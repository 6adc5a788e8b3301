"""A sweep cut into work items: interventions that enter together, in the order in which they run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.interventions.batch import Batch, Paths, Sweep


@dataclass(frozen=True)
class WorkItem:
    """Some interventions that enter in one layer and change the same positions.

    Attributes:
        layer: the layer.
        units: the heads or neurons, one an intervention; None for the whole layer, which is one, and for sets of
            heads.
        position: the position that is replaced; None for all.
        start: the first position that changes.
        index: the interventions' places in the result, `[intervention]`.
    """

    layer: int
    units: tuple[int, ...] | None
    position: int | None
    start: int
    index: Int[Tensor, " intervention"]

    def split(self, count: int) -> "tuple[WorkItem, WorkItem]":
        """The first so many interventions, and the others."""
        return self._part(0, count), self._part(count, len(self.index))

    def _part(self, low: int, high: int) -> "WorkItem":
        units = None if self.units is None else self.units[low:high]
        return replace(self, units=units, index=self.index[low:high])


def tokens_per_intervention(base: BaseRun, start: int) -> int:
    """How many positions one intervention holds from a position on."""
    return max(0, base.n_shared - start) + base.n_pairs * (base.length - max(start, base.n_shared))


def work_items_of(base: BaseRun, batch: Batch, sweep: Sweep, start: int) -> Iterator[WorkItem]:
    """The sweep's interventions that can change what is read, by first position, then by layer."""
    if sweep.sets is not None:
        yield from _items_of_sets(sweep.sets, start)
        return
    positions: Sequence[int | None] = [None]
    if sweep.by_position:
        positions = [each for each in sweep.chosen_positions(batch.length) if start <= each < base.length]
    ranks = sorted(range(len(sweep.layers)), key=lambda rank: sweep.layers[rank])
    for position in positions:
        for rank in ranks:
            layer = sweep.layers[rank]
            if _out_of_reach(sweep.paths, layer) or _never_read(base, sweep, layer, position):
                continue
            asked = [at for at, unit in enumerate(sweep.units or [None]) if sweep.asks_for(layer, unit)]
            if not asked:
                continue
            units = None if sweep.units is None else tuple(sweep.units[at] for at in asked)
            places = [_place(sweep, batch, rank, at, position) for at in asked]
            first = start if position is None else position
            yield WorkItem(layer, units, position, first, torch.tensor(places))


def _items_of_sets(sets: Sequence[Sequence[tuple[int, int]]], start: int) -> Iterator[WorkItem]:
    """Sets of heads, by the lowest layer of theirs."""
    lowest = torch.tensor([min(layer for layer, _ in heads) for heads in sets])
    for layer in lowest.unique().tolist():
        yield WorkItem(layer, None, None, start, (lowest == layer).nonzero()[:, 0])


def _place(sweep: Sweep, batch: Batch, rank: int, unit: int, position: int | None) -> int:
    """An intervention's place in the flattened result."""
    units = 1 if sweep.units is None else len(sweep.units)
    if position is None:
        return rank * units + unit
    positions = sweep.chosen_positions(batch.length)
    return (rank * units + unit) * len(positions) + positions.index(position)


def _out_of_reach(paths: Paths | None, layer: int) -> bool:
    """Whether all receivers stand below what a layer writes."""
    return paths is not None and paths.receivers is not None and layer >= paths.layers[-1]


def _never_read(base: BaseRun, sweep: Sweep, layer: int, position: int | None) -> bool:
    """Whether a change at one position stays there and away from the answer, as after the last attention."""
    stays = sweep.site.stage != "pre" and sweep.site.name not in ("k", "v")
    return base.answer_only_in(layer) and stays and position is not None and position != base.length - 1
