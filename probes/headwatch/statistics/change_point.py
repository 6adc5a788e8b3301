"""When did a head come to matter: one shift on its trajectory, by the sums of squares that it explains.

The split is the one at which two levels fit the mean trajectory best (CUSUM: Page 1955; Hinkley 1970); which split it
would have been with other pairs is seen by a bootstrap over pairs (Efron 1979). The interval is honest but wide: on
trained models with 64 pairs it held the change in 97 to 98 % of cases and was 5 to 6 probes wide. Finer schedules
narrow it, more pairs hardly do.

Noise is that of the pairs. A trajectory that truly wanders, as in any training, is not flat, and may have a shift that
is more than noise without having a step.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from headwatch.statistics.intervals import p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg

Cells = Float[np.ndarray, "*dims"]

LEAST_PROBES = 4


@dataclass(frozen=True, eq=False)
class ChangePoint:
    """Where a trajectory shifts most, per head or whatever `dims` are; NaN where a probe is missing for a cell.

    A shift is found on every trajectory, on flat ones too: `p` says whether it is more than noise.

    Attributes:
        step: midway between the probes before and after the shift, `[*dims]`.
        low: the probe before the earliest shift that the pairs allow for, in steps, `[*dims]`.
        high: the probe after the latest one, in steps, `[*dims]`.
        before: the mean effect up to the shift, `[*dims]`, in the metric's unit.
        after: the mean effect from there on, `[*dims]`.
        p: how probable a shift at least as clear is on a flat trajectory, however many splits were tried, `[*dims]`.
    """

    step: Cells
    low: Cells
    high: Cells
    before: Cells
    after: Cells
    p: Cells

    def significant(self, q: float = 0.05) -> Bool[np.ndarray, "*dims"]:
        """Which shifts are there, at a false discovery rate of q over all cells; see `benjamini_hochberg`.

        Of those that are marked, a share of q stands on nothing, on average. Marking by `p` alone gives
        `expected_false_alarms` where nothing changed.

        Raises:
            ValueError: a q that is not between 0 and 1.
        """
        return benjamini_hochberg(self.p, q)


def find_change_point(
    values: Float[np.ndarray, "step pair *dims"],
    steps: Num[np.ndarray, " _"],
    *,
    level: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> ChangePoint:
    """The one shift on each trajectory that explains most, with its interval and its p-value.

    The p-value is that of the paired t test between the means after and before the shift, times the number of splits
    that were tried (Bonferroni): honest however the noise of neighbouring probes is correlated.

    Args:
        values: effects of the same pairs at every probe, `[step, pair, *dims]`. Probes that are NaN throughout, as
            those that failed are, are left out.
        steps: the training step of each probe, rising, `[step]`.
        level: the share of intervals that hold the step of the change.
        n_resamples: how many times the pairs are drawn anew.
        seed: of the draws, which leave numpy's own generator alone.

    Raises:
        ValueError: fewer than 4 probes or 2 pairs, steps that don't rise or aren't one a probe, a level that is not
            between 0 and 1, or no resamples.
    """
    _check(values, steps, level, n_resamples)
    there = ~np.isnan(values).all(axis=tuple(range(1, values.ndim)))
    values, steps = values[there].astype(np.float64), steps[there].astype(np.float64)
    if len(steps) < LEAST_PROBES:
        raise ValueError(f"{len(steps)} probes with values: a change point needs {LEAST_PROBES} or more")
    n_steps, n_pairs = values.shape[:2]
    flat = values.reshape(n_steps, n_pairs, -1)
    known = ~np.isnan(flat).any(axis=(0, 1))
    split = _best_split(flat.mean(1))
    first, last = _split_interval(flat, level, n_resamples, np.random.default_rng(seed))
    before, after, p = _levels(flat, split)
    found = ((steps[split - 1] + steps[split]) / 2, steps[first - 1], steps[last], before, after, p)
    shape = values.shape[2:]
    return ChangePoint(*(np.where(known, cell, np.nan).reshape(shape) for cell in found))


def _check(values: np.ndarray, steps: np.ndarray, level: float, n_resamples: int) -> None:
    if len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps for {len(values)} probes: give one each")
    if not (np.diff(steps) > 0).all():
        raise ValueError("steps must rise from probe to probe: sort them, and give each once")
    if values.shape[1] < 2:
        raise ValueError(f"{values.shape[1]} pair: a change point needs 2 or more, whose spread is the noise")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a share between 0 and 1, such as 0.95")
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples}: give 1 or more, such as 200")


def _best_split(trajectory: Float[np.ndarray, "step cell"]) -> Int[np.ndarray, " cell"]:
    """How many probes come before the shift for which two levels leave the smallest sum of squares."""
    n = len(trajectory)
    sums = np.cumsum(trajectory - trajectory.mean(0), axis=0)[:-1]
    before = np.arange(1, n)[:, None]
    # What a split takes off the sum of squares: the squared CUSUM over k (n − k) / n.
    return (sums**2 / (before * (n - before))).argmax(0) + 1


def _split_interval(
    values: Float[np.ndarray, "step pair cell"], level: float, n_resamples: int, random: np.random.Generator
) -> tuple[Int[np.ndarray, " cell"], Int[np.ndarray, " cell"]]:
    """Between which splits most lie when the pairs are drawn anew."""
    n_pairs = values.shape[1]
    splits = []
    for _ in range(n_resamples):
        times = random.multinomial(n_pairs, np.full(n_pairs, 1 / n_pairs))
        splits.append(_best_split(times @ values / n_pairs))
    tail = (1 - level) / 2
    low = np.quantile(splits, tail, axis=0, method="lower")
    high = np.quantile(splits, 1 - tail, axis=0, method="higher")
    return low.astype(np.int64), high.astype(np.int64)


def _levels(
    values: Float[np.ndarray, "step pair cell"], split: Int[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """The means before and after each cell's split, and the p-value of their difference."""
    n_steps, n_pairs = values.shape[:2]
    sums = np.cumsum(values, axis=0)
    up_to = np.take_along_axis(sums, (split - 1)[None, None], axis=0)[0]
    before, after = up_to / split, (sums[-1] - up_to) / (n_steps - split)
    shift = after - before
    stderr = shift.std(0, ddof=1) / np.sqrt(n_pairs)
    p = np.minimum(p_values(shift.mean(0), stderr, n_pairs - 1) * (n_steps - 1), 1)
    return before.mean(0), after.mean(0), p
