"""What changed between two results on the same pairs, against the noise of the change itself.

Pairs differ among each other far more than one pair differs between two checkpoints: during fine-tuning the variance
of paired differences was 0.007 to 0.045 of what it is between unpaired means. Where only some pairs were measured
exactly, a covariate that is known on all of them (a first-order effect, say) brings in the others: its difference
is averaged over all N pairs, and the difference of the residuals over the n pairs that were measured on both sides.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from headwatch.statistics.intervals import interval, p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg

Cells = Float[np.ndarray, "*dims"]
PerPair = Float[np.ndarray, "pair *dims"]
AsMany = Float[np.ndarray, "_ ..."]  # of the same shape, which is checked with a sentence


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """How much a mean over pairs changed, per head or whatever `dims` are; NaN where 2 pairs couldn't be compared.

    Attributes:
        mean: after − before, `[*dims]`, in the metric's unit.
        stderr: its standard error as an estimate of the difference over all prompts like these, `[*dims]`.
        degrees_of_freedom: n − 1 for n exact pairs, Satterthwaite's (1946) where a covariate is used, `[*dims]`.
        p: how probable a difference at least as large is where there is none, `[*dims]`.
    """

    mean: Cells
    stderr: Cells
    degrees_of_freedom: Cells
    p: Cells

    def interval(self, level: float = 0.95) -> tuple[Cells, Cells]:
        """The lower and the upper end of each difference's t interval, `[*dims]` both.

        Args:
            level: the share of such intervals that hold the true difference.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        return interval(self.mean, self.stderr, self.degrees_of_freedom, level)

    def significant(self, q: float = 0.05) -> Bool[np.ndarray, "*dims"]:
        """Which differences are there, at a false discovery rate of q over all of them; see `benjamini_hochberg`.

        Raises:
            ValueError: a q that is not between 0 and 1.
        """
        return np.asarray(benjamini_hochberg(self.p, q))


def paired_difference(
    before: PerPair,
    after: AsMany,
    *,
    covariate_before: AsMany | None = None,
    covariate_after: AsMany | None = None,
) -> PairedDifference:
    """The mean of after − before over pairs: a paired t test, with the covariates' difference as a control.

    Without covariates only pairs that were measured on both sides count. With them, for c the covariates' and r the
    residuals' (x − c) difference,

        mean = mean_N(c) + mean_n(r)
        variance = var(r) / n · (1 − n / N) + (var_N(c) + var(r) + 2 cov(c, r)) / N

    over the n pairs measured on both sides and the N whose covariates are known. The slope is 1: nothing is fitted,
    so that 4 pairs are enough, and a bad covariate makes the error large, not wrong. Which pairs were measured must
    be a matter of chance.

    Args:
        before: exact effects, `[pair, *dims]`, NaN where a pair was not measured.
        after: the same on the same pairs in the same order, `[pair, *dims]`.
        covariate_before: an estimate of `before` on all pairs, `[pair, *dims]`. None if `before` has all pairs.
        covariate_after: an estimate of `after` on all pairs, likewise.

    Raises:
        ValueError: arrays of different shapes, or a side of which pairs and covariate are both missing where the
            other side has a covariate.
    """
    sides = {"before": before, "after": after}
    covariates = {"before": covariate_before, "after": covariate_after}
    _check(sides, covariates)
    change = after.astype(np.float64) - before
    if covariate_before is None and covariate_after is None:
        return _combine(np.where(np.isnan(change), np.nan, 0.0), change)
    known = {name: sides[name] if given is None else given for name, given in covariates.items()}
    control = known["after"].astype(np.float64) - known["before"]
    return _combine(control, change - control)


def _check(sides: dict[str, AsMany], covariates: dict[str, AsMany | None]) -> None:
    given = {f"covariate_{name}": array for name, array in covariates.items() if array is not None}
    for name, array in (sides | given).items():
        if array.shape != sides["before"].shape:
            raise ValueError(
                f"{name} has the shape {array.shape}, before {sides['before'].shape}: give the same pairs and cells"
            )
    for name, side in sides.items():
        if given and covariates[name] is None and np.isnan(side).any():
            raise ValueError(
                f"{name} lacks pairs (they are NaN): give covariate_{name} too, or no covariate for the other side"
            )


def _combine(control: PerPair, residual: PerPair) -> PairedDifference:
    """The mean of the control over all pairs plus that of the residual over those that have one."""
    known = ~np.isnan(control)
    measured = known & ~np.isnan(residual)
    n_all, n = known.sum(0).astype(np.float64), measured.sum(0).astype(np.float64)
    n = np.where(n >= 2, n, np.nan)
    n_all = np.where(n >= 2, n_all, np.nan)
    mean = np.asarray(_mean(control, known, n_all) + _mean(residual, measured, n))
    of_residual = _covariance(residual, residual, measured, n)
    together = 2 * _covariance(control, residual, measured, n)
    from_few = of_residual * (1 / n - 1 / n_all)
    from_all = np.maximum(_covariance(control, control, known, n_all) + of_residual + together, 0) / n_all
    variance = from_few + from_all
    weights = from_few**2 / (n - 1) + from_all**2 / (n_all - 1)
    freedom = np.where(weights > 0, variance**2 / np.where(weights > 0, weights, 1), n - 1)
    stderr = np.asarray(np.sqrt(variance))
    return PairedDifference(mean, stderr, freedom, p_values(mean, stderr, freedom))


def _mean(values: PerPair, where: Bool[np.ndarray, "pair *dims"], count: Cells) -> Cells:
    return np.asarray(np.where(where, values, 0.0).sum(0) / count)


def _covariance(
    first: PerPair, second: PerPair, where: Bool[np.ndarray, "pair *dims"], count: Cells
) -> Cells:
    """Over the pairs of a mask, `count` of them."""
    product = (first - _mean(first, where, count)) * (second - _mean(second, where, count))
    return np.asarray(np.where(where, product, 0.0).sum(0) / (count - 1))
