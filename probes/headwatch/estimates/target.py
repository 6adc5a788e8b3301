"""How precise an estimate shall be, and what it may cost."""

import math
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from headwatch.statistics.difference_estimator import TAIL_MISSED, MeanEstimate

TargetStderr = float | str | None

_AS_EXACT = 0.21  # of the exact sweep's variance: a standard error of 1.1 times its own
_HARD, _AS_EXACT_IF_HARD = (
    10,
    0.5,
)  # from so many runs on 1.22 times: a few hard heads would take most of all runs
_LOOKED_FOR = 32  # runs after which a tail that they missed isn't looked for any longer
_DEFAULT_SHARE = 0.01
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Target:
    """When a head has had enough exact runs.

    It has when its standard error is at most 1.1 times that of the exact sweep (1.22 times for a head that takes 10
    runs or more), which more runs could hardly mend, or when it is below what was asked for. Nothing is enough while
    the runs have missed a tail that is known to be there, and which would be all of the error: 32 runs at most.

    Attributes:
        absolute: a standard error in the metric's unit; 0 for none.
        share: a standard error as a share of the largest effect; 0 for none.
    """

    absolute: float = 0.0
    share: float = 0.0

    @classmethod
    def of(cls, target_stderr: TargetStderr) -> "Target":
        """What a user asked for: a number, a share such as `"2%"`, `"exact"`, or None for the default.

        Raises:
            ValueError: something else.
        """
        if target_stderr is None:
            return cls(share=_DEFAULT_SHARE)
        if target_stderr == "exact":
            return cls()
        if isinstance(target_stderr, str):
            per_cent = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", target_stderr)
            if per_cent and float(per_cent[1]) > 0:
                return cls(share=float(per_cent[1]) / 100)
        elif (
            isinstance(target_stderr, int | float)
            and not isinstance(target_stderr, bool)
            and target_stderr > 0
        ):
            return cls(absolute=float(target_stderr))
        raise ValueError(
            f"target_stderr={target_stderr!r}: give a number above 0 in the metric's unit, a share of the largest "
            "effect such as '2%', or 'exact'"
        )

    def allowed(self, estimate: MeanEstimate) -> Float[np.ndarray, " cell"]:
        """What variance of sampling each cell may have."""
        largest = np.abs(estimate.mean[np.isfinite(estimate.mean)]).max(initial=0.0)
        enough = max(self.absolute, self.share * float(largest)) ** 2
        as_exact = np.where(estimate.n < _HARD, _AS_EXACT, _AS_EXACT_IF_HARD) * estimate.of_prompts
        return np.maximum(as_exact, enough - estimate.of_prompts)

    def met(self, estimate: MeanEstimate) -> Bool[np.ndarray, " cell"]:
        """Which cells have had enough."""
        return (estimate.of_sampling <= self.allowed(estimate)) & ~_looks_for_tail(estimate)

    def need(self, estimate: MeanEstimate) -> Float[np.ndarray, " cell"]:
        """How far each cell is from enough: its variance of sampling over what it may be."""
        with np.errstate(divide="ignore", invalid="ignore"):
            need = np.nan_to_num(estimate.of_sampling / self.allowed(estimate), posinf=np.finfo(float).max)
        return np.where(_looks_for_tail(estimate), np.maximum(need, 1.0), need)


def _looks_for_tail(estimate: MeanEstimate) -> Bool[np.ndarray, " cell"]:
    """Whose runs have missed a tail that more of them are likely to find."""
    return (estimate.tail_missed > TAIL_MISSED) & (estimate.n < _LOOKED_FOR)


def check_budget(budget: float | None) -> None:
    """Refuse a budget that is none.

    Raises:
        ValueError: such a budget.
    """
    if budget is None:
        return
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget <= 1:
        raise ValueError(f"budget={budget!r}: give a share of the exact sweep's cost, above 0 and up to 1")


def check_least(budget: float | None, least: float, pilot: int, n_pairs: int) -> None:
    """Refuse a budget that buys no interval.

    Args:
        budget: a share of the exact sweep's cost; None for no limit.
        least: the share that is needed.
        pilot: the runs of each head that it pays for.
        n_pairs: all pairs.

    Raises:
        ValueError: less than is needed.
    """
    if budget is not None and budget < least - _ROUNDING:
        enough = math.ceil((least - _ROUNDING) * 1000) / 1000
        raise ValueError(
            f"budget={budget} is less than {enough:.3g}, the share of {pilot} exact runs a head on {n_pairs} pairs, "
            "the fewest that give an interval: give more, or more pairs"
        )
