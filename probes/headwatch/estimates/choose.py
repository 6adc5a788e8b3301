"""Which covariate makes the whole cheapest: judged by what it leaves on the first few pairs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headwatch.estimates.allocate import Known
from headwatch.estimates.covariates import COVARIATES, Covariate, Guess
from headwatch.estimates.head_sweep import HeadSweep, Rows, Values
from headwatch.estimates.target import Target
from headwatch.statistics.difference_estimator import MeanEstimate, variance


@dataclass(frozen=True, eq=False)
class Chosen:
    """A covariate, and what it says of the first pairs."""

    covariate: Covariate
    pilot: Guess

    def everywhere(self, pilot: Rows, n_pairs: int) -> Guess:
        """What it says of all pairs; those that it was tried on aren't asked for again."""
        others = np.setdiff1d(np.arange(n_pairs), pilot)
        parts = [self.pilot, self.covariate.guess(others)] if len(others) else [self.pilot]
        order = np.argsort(np.concatenate([pilot, others]))
        values, tail = (np.concatenate(part)[order] for part in zip(*parts, strict=True))
        return Guess(values, tail)


def choose(
    question: HeadSweep,
    exact: Values,
    pilot: Rows,
    target: Target,
    per_cell: Float[np.ndarray, " cell"],
    limit: float,
) -> Chosen:
    """The covariate with which the whole question is expected to cost least.

    Args:
        question: the question.
        exact: the exact effects on the pilot's pairs, `[some, cell]`.
        pilot: these pairs.
        target: when a head has had enough exact runs.
        per_cell: one exact run's cost on one pair, in forward-equivalents, `[cell]`.
        limit: what covariates may cost on all pairs, in forward-equivalents.
    """
    n_pairs, found = question.n_pairs, list[tuple[float, Chosen]]()
    for kind in COVARIATES:
        covariate = kind(question)
        if not covariate.serves():
            continue
        price = covariate.cost() * n_pairs
        best = min((cost for cost, _ in found), default=np.inf)
        if price > limit or price + len(pilot) * per_cell.sum() >= best:
            continue
        guess = covariate.guess(pilot)
        runs = expected_runs(exact, guess, n_pairs, target)
        found.append((price + float(runs @ per_cell), Chosen(covariate, guess)))
    return min(found, key=lambda each: each[0])[1]


def expected_runs(exact: Values, guess: Guess, n_pairs: int, target: Target) -> Float[np.ndarray, " cell"]:
    """How many runs each head is expected to need, by what the first few leave of it."""
    tasks, order = np.zeros(len(exact), int), np.arange(len(exact))
    fitted = Known(guess.values, guess.tail, tasks, order).estimate(
        exact, np.full(exact.shape[1], len(exact))
    )
    residual, prompts = variance(exact - fitted.covariate), variance(exact) / n_pairs
    nobody = np.full_like(prompts, np.inf)
    allowed = target.allowed(
        MeanEstimate(exact.mean(0), nobody, prompts, nobody, nobody, np.zeros(len(prompts), int))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        runs = 1 / (np.nan_to_num(allowed / residual, nan=np.inf) + 1 / n_pairs)
    return np.maximum(runs, len(exact))
