"""The mean over N pairs from exact values of few of them and a covariate that is known on all.

mean = mean_N(c) + mean_n(r), with r = x − c on the n pairs that were run: the difference estimator (Särndal, Swensson
& Wretman 1992). Nothing is fitted, so that 4 pairs are enough. Its error has two parts: what the pairs that were not
run leave open, which more runs make smaller, and what the N pairs leave open about all prompts like these, which the
exact mean has too.

Three things make it honest with few runs, each found by simulation on trained models (see the page 'estimates' of the
documentation):

- Pairs come from several tasks, whose residuals lie at different heights. As soon as every task has 2 runs, the mean
  of residuals is weighted by task and its variance is taken within tasks: the larger one of their pooled variance
  and the sum of their own, since few runs of one task can look alike by chance.
- A head's residuals are often near 0 but for a few pairs, which the runs may have missed. Where they lie is known:
  `tail` is an expected squared residual of every pair. Where it averages more over all pairs than over those that
  were run, the variance is raised by as much.
- Covariate and residual move together where the covariate is off by a factor: their covariance is counted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Values = Float[np.ndarray, "pair cell"]
PerCell = Float[np.ndarray, " cell"]

TAIL_MISSED = 3.0  # from which factor on the runs have missed most of a tail
_LEAST_IN_TASK = 2  # runs


@dataclass(frozen=True, eq=False)
class MeanEstimate:
    """The mean of each cell over all prompts like these pairs.

    Attributes:
        mean: the estimate, `[cell]`.
        of_sampling: the variance that the pairs without an exact value leave open; 0 where there are none.
        of_prompts: the variance that the exact mean over all N pairs has.
        degrees_of_freedom: Satterthwaite's (1946) of both.
        tail_missed: how many times larger the expected squared residual is over all pairs than over those that
            were run; 1 or more.
        n: pairs with an exact value.
    """

    mean: PerCell
    of_sampling: PerCell
    of_prompts: PerCell
    degrees_of_freedom: PerCell
    tail_missed: PerCell
    n: Int[np.ndarray, " cell"]

    @property
    def stderr(self) -> PerCell:
        """The standard error, both parts together."""
        return np.sqrt(self.of_sampling + self.of_prompts)


def difference_estimate(
    exact: Values, covariate: Values, tail: Values, task_of: Int[np.ndarray, " pair"]
) -> MeanEstimate:
    """Estimate every cell's mean.

    Args:
        exact: exact values, NaN where a pair was not run; which were is a matter of chance, not of the values.
        covariate: what is known of every pair; 0 where nothing is.
        tail: an expected squared residual of every pair, up to a factor; 0 everywhere where none is known.
        task_of: each pair's task, as a number from 0 on.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _estimate(exact, covariate, tail, task_of)


def _estimate(
    exact: Values, covariate: Values, tail: Values, task_of: Int[np.ndarray, " pair"]
) -> MeanEstimate:
    run = ~np.isnan(exact)
    n, n_all = run.sum(0), len(exact)
    residual = np.where(run, exact - covariate, 0.0)
    plain = residual.sum(0) / n
    spread = _squares(residual, plain, run) / (n - 1)
    of_tasks = _by_task(residual, run, task_of)
    mean_residual = np.where(of_tasks.usable, of_tasks.mean, plain)
    sampling = np.where(of_tasks.usable, of_tasks.variance, spread / n * (1 - n / n_all))
    freedom = np.where(of_tasks.usable, of_tasks.degrees_of_freedom, n - 1.0)
    missed = _tail_missed(tail, run)
    sampling = np.where(n == n_all, 0.0, sampling * missed)
    of_covariate = variance(covariate) / n_all
    of_residual = _variance_with_residual(covariate, residual, run, spread) / n_all - of_covariate
    # What is known from the runs alone has their degrees of freedom, whether it stands for sampling or for prompts.
    by_runs = sampling + np.maximum(of_residual, 0.0)
    shares = np.where(by_runs > 0, by_runs**2 / freedom, 0.0) + of_covariate**2 / (n_all - 1)
    prompts = of_covariate + of_residual
    degrees = np.where(shares > 0, (by_runs + of_covariate) ** 2 / shares, n_all - 1.0)
    degrees = np.where(n == n_all, n_all - 1.0, degrees)
    return MeanEstimate(covariate.mean(0) + mean_residual, sampling, prompts, degrees, missed, n)


def variance(values: Values) -> PerCell:
    """The unbiased variance over pairs; NaN for a single one."""
    with np.errstate(invalid="ignore"):
        return ((values - values.mean(0)) ** 2).sum(0) / np.float64(len(values) - 1)


def squares_where_known(values: Values) -> PerCell:
    """The sum of squares about the mean, of what isn't NaN."""
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=0) / (~np.isnan(values)).sum(0)
        return np.nansum((values - mean) ** 2, axis=0)


def _squares(values: Values, mean: PerCell, run: Bool[np.ndarray, "pair cell"]) -> PerCell:
    return (np.where(run, values - mean, 0.0) ** 2).sum(0)


def _tail_missed(tail: Values, run: Bool[np.ndarray, "pair cell"]) -> PerCell:
    """How much larger the tail is on average over all pairs than over those that were run."""
    over_run = np.where(run, tail, 0.0).sum(0) / run.sum(0)
    everywhere = tail.mean(0)
    return np.where(everywhere > over_run, everywhere / np.maximum(over_run, 1e-30), 1.0)


def _variance_with_residual(
    covariate: Values, residual: Values, run: Bool[np.ndarray, "pair cell"], spread: PerCell
) -> PerCell:
    """The variance of c + r over pairs, by that of c over all of them and the rest over those that were run."""
    n = run.sum(0)
    inside = np.where(run, covariate, 0.0).sum(0) / n
    together = np.where(run, (covariate - inside) * (residual - residual.sum(0) / n), 0.0).sum(0) / (n - 1)
    apart = variance(covariate) + spread
    # A covariance from few runs may say that nothing is left.
    return np.maximum(apart + 2 * together, apart / 2 * (n < len(run)))


@dataclass(frozen=True, eq=False)
class _OfTasks:
    mean: PerCell
    variance: PerCell
    degrees_of_freedom: PerCell
    usable: Bool[np.ndarray, " cell"]


def _by_task(
    residual: Values, run: Bool[np.ndarray, "pair cell"], task_of: Int[np.ndarray, " pair"]
) -> _OfTasks:
    """The mean of residuals weighted by task, and its variance within tasks."""
    member = (task_of == np.unique(task_of)[:, None]).astype(float)  # [task, pair]
    size = member.sum(1)[:, None]
    count = member @ run
    means = member @ residual / count
    squares = np.maximum(member @ residual**2 - count * means**2, 0.0)
    left = (size / len(residual)) ** 2 / count * (1 - count / size)
    own = left * np.where(count > 1, squares / (count - 1), 0.0)
    degrees = (count - 1).sum(0)
    pooled = left.sum(0) * squares.sum(0) / degrees
    variance = own.sum(0)
    freedom = variance**2 / np.where(count > 1, own**2 / (count - 1), 0.0).sum(0)
    freedom = np.where(variance > 0, np.maximum(freedom, 1.0), np.maximum(degrees, 1.0))
    usable = (count >= np.minimum(size, _LEAST_IN_TASK)).all(0) & (degrees > 0)
    mean = (size / len(residual) * means).sum(0)
    return _OfTasks(mean, np.maximum(variance, pooled), freedom, usable)
