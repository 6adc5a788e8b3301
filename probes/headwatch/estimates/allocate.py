"""Which exact runs to make: few pairs for every head, then more only for those whose error still matters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from headwatch.estimates.target import Target
from headwatch.statistics.difference_estimator import (
    MeanEstimate,
    difference_estimate,
    squares_where_known,
)

PILOT = 4  # pairs that every head is run on
_GROWTH = 1.2

Values = Float[np.ndarray, "pair cell"]
Cells = Bool[np.ndarray, " cell"]
Affordable = Callable[[Float[np.ndarray, " cell"], int], Cells]
RunExact = Callable[[Int[np.ndarray, " some"], Cells], Float[np.ndarray, "some cell"]]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of every pair before exact runs are made.

    Attributes:
        covariate: an estimate of each pair's effect, `[pair, cell]`.
        tail: the expected square of what it is off by, up to a factor, `[pair, cell]`; 0 where nothing is known.
        task_of: each pair's task.
        order: the order in which pairs are run.
    """

    covariate: Values
    tail: Values
    task_of: Int[np.ndarray, " pair"]
    order: Int[np.ndarray, " pair"]

    def estimate(self, exact: Values, runs: Int[np.ndarray, " cell"]) -> "Fitted":
        """The estimates from what was run so far.

        A covariate that makes a head worse, or is no number somewhere, is left out. A run that gave NaN makes its
        head's estimate NaN.

        Args:
            exact: `[pair, cell]`, NaN where nothing was run.
            runs: on how many pairs, from the front of the order, each cell was run.
        """
        earned = squares_where_known(exact - self.covariate) <= squares_where_known(exact)
        earned &= np.isfinite(self.covariate).all(0)
        covariate, tail = (np.where(earned, values, 0.0) for values in (self.covariate, self.tail))
        covariate[(self.order.argsort()[:, None] < runs) & np.isnan(exact)] = np.nan
        return Fitted(covariate, tail, difference_estimate(exact, covariate, tail, self.task_of))


@dataclass(frozen=True, eq=False)
class Fitted:
    """Estimates, and the covariates that they rest on: 0 for a head that has not earned its own.

    Attributes:
        covariate: `[pair, cell]`.
        tail: likewise.
        mean: the estimates.
    """

    covariate: Values
    tail: Values
    mean: MeanEstimate


def allocate(
    exact: Values,
    done: int,
    run_exact: RunExact,
    known: Known,
    target: Target,
    affordable: Affordable,
) -> Fitted:
    """Make exact runs until every head has enough, or none can be paid for; `exact` is filled in place.

    Args:
        exact: `[pair, cell]`, with the pilot's values and NaN elsewhere.
        done: on how many pairs, from the front of the order, every head was run.
        run_exact: the exact effects of some heads on some pairs, `[some, cell]`; of the other heads anything.
        known: what is known of every pair.
        target: when a head has enough.
        affordable: which heads can be run on so many pairs more, by how much each needs it (0: not at all).
    """
    n_all, runs = len(exact), np.full(exact.shape[1], done)
    while True:
        fitted = known.estimate(exact, runs)
        open_cells = ~target.met(fitted.mean) & (runs == done)
        if done == n_all or not open_cells.any():
            return fitted
        more = min(n_all, max(done + 1, round(done * _GROWTH)))
        if n_all - more < PILOT:
            more = n_all
        chosen = affordable(np.where(open_cells, target.need(fitted.mean), 0.0), more - done)
        if not chosen.any():
            return fitted
        rows = known.order[done:more]
        exact[np.ix_(rows, chosen)] = run_exact(rows, chosen)[:, chosen]
        runs[chosen] = done = more
