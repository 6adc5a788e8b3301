"""What a budget still pays for: by counted cost, and by the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float


@dataclass
class Budget:
    """Counts what was spent, as shares of the exact sweep on all pairs.

    Attributes:
        share: what may be spent; None for no limit.
        per_cell: one head's exact run on one pair, `[cell]`.
        per_pair: what the runs without an intervention cost a pair more.
        sweep_seconds: how long the exact sweep on all pairs takes, as far as is known.
        spent: what was spent so far.
    """

    share: float | None
    per_cell: Float[np.ndarray, " cell"]
    per_pair: float
    sweep_seconds: float = np.inf
    spent: float = 0.0
    clock: Callable[[], float] = time.perf_counter
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return self.clock() - self.started

    @property
    def by_clock(self) -> float:
        """What was spent by the clock."""
        return self.seconds / self.sweep_seconds

    def afford(self, need: Float[np.ndarray, " cell"], n_pairs: int) -> Bool[np.ndarray, " cell"]:
        """Which cells can be run on so many pairs more, the neediest first; what they cost is spent."""
        wanted = need > 0
        costs = np.where(wanted, self.per_cell, 0.0) * n_pairs
        if self.share is not None:
            if self.by_clock >= self.share:
                return np.zeros_like(wanted)
            left = self.share - self.spent - self.per_pair * n_pairs
            order = np.argsort(-need, kind="stable")
            wanted = wanted.copy()
            wanted[order[np.cumsum(costs[order]) > left]] = False
        if wanted.any():
            self.spent += float(costs[wanted].sum()) + self.per_pair * n_pairs
        return wanted
