"""How far off estimates are and how often their intervals hold, over many draws of pairs from a table.

A draw takes pairs from the table one by one, with replacement: so the table's mean is the truth to which every draw's
interval is held, whatever the draw's own pairs happen to be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import headwatch as hw
from benchmarks.estimates.tables import Table

Estimator = Callable[[Table, int], "hw.Effects | hw.EstimatedEffects"]
OFTEN = 1 / 3  # a head that is marked suspect in more of the draws than this is not held to its coverage


@dataclass(frozen=True, eq=False)
class Draws:
    """What was estimated from each draw.

    Attributes:
        table: what was drawn from.
        n_pairs: pairs of a draw.
        mean: the estimates, `[draw, layer, head]`.
        low: the lower ends of their 95 % intervals.
        high: the upper ends.
        suspect: heads marked as not to be trusted.
        n_exact: exact runs of each head.
        cost: of each draw, as a share of the exact sweep's forward-equivalents, `[draw]`.
    """

    table: Table
    n_pairs: int
    mean: Tensor
    low: Tensor
    high: Tensor
    suspect: Tensor
    n_exact: Tensor
    cost: Tensor

    @property
    def truth(self) -> Tensor:
        """The mean effect over the whole table, `[layer, head]`."""
        return self.table.exact.double().mean(0)

    @property
    def exact_stderr(self) -> Tensor:
        """The standard error that exact effects of a draw's pairs have, `[layer, head]`."""
        return self.table.exact.double().std(0, correction=0) / self.n_pairs**0.5

    @cached_property
    def relative_error(self) -> Tensor:
        """The root mean square error of each head's estimate, in standard errors of the exact sweep."""
        return (self.mean - self.truth).pow(2).mean(0).sqrt() / self.exact_stderr

    @property
    def error_of_largest(self) -> float:
        """The largest root mean square error of a head, as a share of the largest effect."""
        errors = (self.mean - self.truth).pow(2).mean(0).sqrt()
        return float(errors.max() / self.truth.abs().max())

    @cached_property
    def coverage(self) -> Tensor:
        """The share of draws whose interval holds the truth, `[layer, head]`."""
        return ((self.low <= self.truth) & (self.truth <= self.high)).double().mean(0)

    @property
    def trusted(self) -> Tensor:
        """Heads that less than a third of the draws mark as suspect, `[layer, head]`."""
        return self.suspect.double().mean(0) <= OFTEN

    @property
    def worst_trusted_coverage(self) -> float:
        """The lowest coverage of a head that is not often marked."""
        return float(self.coverage[self.trusted].min()) if self.trusted.any() else float("nan")


def draw(table: Table, estimate: Estimator, repeats: int = 500, n_pairs: int = 64, seed: int = 0) -> Draws:
    """Draw pairs from a table again and again, and estimate from each draw."""
    generator, found = torch.Generator().manual_seed(seed), list[tuple[Tensor, ...]]()
    for number in range(repeats):
        rows = torch.randint(len(table.exact), (n_pairs,), generator=generator)
        found.append(_figures(estimate(table[rows], number), n_pairs))
    return Draws(table, n_pairs, *(torch.stack(each) for each in zip(*found, strict=True)))


def exact_sweep(table: Table, seed: int) -> hw.Effects:
    """What the exact sweep finds on a table's pairs, for comparison; it draws nothing by its seed."""
    runs = (table.clean, table.corrupted)
    return hw.Effects(table.exact, *runs, ("layer", "head"), "z", table.kind, table.metric)


def _figures(effects: "hw.Effects | hw.EstimatedEffects", n_pairs: int) -> tuple[Tensor, ...]:
    low, high = effects.interval(0.95)
    if isinstance(effects, hw.Effects):
        marked, runs, cost = torch.zeros_like(low, dtype=torch.bool), torch.full_like(low, n_pairs), 1.0
    else:
        marked, runs, cost = effects.suspect, effects.n_exact, effects.cost
    return effects.mean.double(), low.double(), high.double(), marked, runs.double(), torch.tensor(cost)
