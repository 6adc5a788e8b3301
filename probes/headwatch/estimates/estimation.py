"""One question's estimate from beginning to end: pilot, covariate, and exact runs where they still matter."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headwatch.effects.estimated import EstimatedEffects
from headwatch.estimates.allocate import PILOT, Fitted, Known, allocate
from headwatch.estimates.budget import Budget
from headwatch.estimates.choose import choose
from headwatch.estimates.head_sweep import HeadSweep
from headwatch.estimates.target import Target, check_least
from headwatch.statistics.balanced_order import balanced_order


@dataclass(frozen=True)
class Estimation:
    """One question under way.

    Attributes:
        question: the question.
        target: when a head has had enough exact runs.
        limit: what it may cost, as a share of the exact sweep; None for no limit.
        seed: of the order in which pairs are run.
        tell: told which share of the question is answered.
    """

    question: HeadSweep
    target: Target
    limit: float | None
    seed: int
    tell: Callable[[float], None]

    def run(self) -> EstimatedEffects:
        """The estimates."""
        started = time.perf_counter()
        check_least(self.limit, self.least, len(self._first), self.question.n_pairs)
        self.question.run.engine_answers  # noqa: B018 - so that the check isn't timed with the first pairs
        exact = np.full((self.question.n_pairs, int(np.prod(self.question.shape))), np.nan)
        budget = self._pilot(exact)
        name, known = self._learn(exact, budget)
        fitted = allocate(exact, len(self._first), self._run_exact, known, self.target, budget.afford)
        self.tell(1.0)
        return self._answer(exact, fitted, name, budget, started)

    def _pilot(self, exact: Float[np.ndarray, "pair cell"]) -> Budget:
        """Run every head on the first pairs, which also tells how long the exact sweep takes."""
        costs, n_pairs = self.question.costs, self.question.n_pairs
        budget = Budget(self.limit, self._per_cell / self._whole, costs.base / self._whole)
        exact[self._first] = self._run_exact(self._first)
        budget.sweep_seconds = budget.seconds / len(self._first) * n_pairs
        budget.spent = self.least
        return budget

    def _run_exact(
        self, rows: Int[np.ndarray, " some"], cells: Bool[np.ndarray, " cell"] | None = None
    ) -> Float[np.ndarray, "some cell"]:
        """The exact effects on the next pairs of the order; how far along it they lie is told."""
        found = self.question.exact(rows, cells)
        self.tell(float(self._order.argsort()[rows].max() + 1) / self.question.n_pairs)
        return found

    def _learn(self, exact: Float[np.ndarray, "pair cell"], budget: Budget) -> tuple[str, Known]:
        """Choose what is known of all pairs by what it says of the first."""
        n_pairs = self.question.n_pairs
        left = np.inf if self.limit is None else max(self.limit - budget.spent, 0.0) * self._whole
        chosen = choose(self.question, exact[self._first], self._first, self.target, self._per_cell, left)
        guess = chosen.everywhere(self._first, n_pairs)
        budget.spent += chosen.covariate.cost() * n_pairs / self._whole
        return chosen.covariate.name, Known(guess.values, guess.tail, self._task_of, self._order)

    def _answer(
        self, exact: Float[np.ndarray, "pair cell"], fitted: Fitted, name: str, budget: Budget, started: float
    ) -> EstimatedEffects:
        run = self.question.run
        measured = {
            name: torch.from_numpy(values).float() for name, values in self.question.not_intervened().items()
        }
        covariate = self._as_heads(fitted.covariate)
        covariate[measured[self.question.base].isnan()] = torch.nan
        return EstimatedEffects(
            self._as_heads(exact),
            covariate,
            self._as_heads(fitted.tail),
            torch.from_numpy(self._task_of),
            torch.from_numpy(self._order),
            measured["clean"],
            measured.get("corrupted"),
            run.sweep.dims,
            run.sweep.site.name,
            run.kind,
            run.sweep.metric.name,
            cost=budget.spent,
            cost_by_clock=budget.by_clock,
            covariate_names=(name,),
            seconds=time.perf_counter() - started,
            given=measured.get("given"),
            coords=run.sweep.coords(run.pairs.clean.shape[1]),
        )

    @cached_property
    def _task_of(self) -> Int[np.ndarray, " pair"]:
        return self.question.run.pairs.task_numbers

    @cached_property
    def _order(self) -> Int[np.ndarray, " pair"]:
        return balanced_order(self.question.n_pairs, self._task_of, seed=self.seed).numpy()

    @cached_property
    def _first(self) -> Int[np.ndarray, " some"]:
        """The pairs that every head is run on."""
        return self._order[:PILOT]

    @cached_property
    def _per_cell(self) -> Float[np.ndarray, " cell"]:
        """One exact run's cost on one pair, in forward-equivalents."""
        return self.question.of_each_head(self.question.costs.exact)

    @cached_property
    def least(self) -> float:
        """What runs of every head on the first pairs cost, as a share of the exact sweep."""
        costs = self.question.costs
        pilot = len(self._first) * (self._per_cell.sum() + costs.base) + self.question.n_pairs * costs.values
        return float(pilot / self._whole)

    @cached_property
    def _whole(self) -> float:
        """The exact sweep's cost on all pairs, in forward-equivalents."""
        costs = self.question.costs
        return float(self.question.n_pairs * (self._per_cell.sum() + costs.base + costs.values))

    def _as_heads(self, values: Float[np.ndarray, "pair cell"]) -> Float[Tensor, "pair layer head"]:
        return torch.from_numpy(values).float().unflatten(1, self.question.shape)
