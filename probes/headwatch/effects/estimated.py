"""`EstimatedEffects`: what `estimate_heads` answers with: means of exact effects that few pairs were run for."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headwatch.cell_names import Coords, how_many
from headwatch.effects.measured import MeasuredCells
from headwatch.statistics.difference_estimator import (
    TAIL_MISSED,
    MeanEstimate,
    difference_estimate,
    squares_where_known,
)
from headwatch.statistics.spread import share_of_spread

_EXPLAINED = 0.8  # of the variance, below which a head is suspect
_FEW_RUNS = 16  # too few to see a tail by, where nothing is known of the other pairs
_FEW_PAIRS = 8.0  # that a head's spread lies in, and below an eighth of all


@dataclass(frozen=True, eq=False, repr=False)
class EstimatedEffects(MeasuredCells):
    """Mean effects of all heads, estimated from exact runs on some pairs and from what is cheap to know of all.

    Example:
        >>> pairs = hw.tasks.ioi(tokenizer, n=16)
        >>> found = hw.estimate_heads(model, pairs, budget=0.5)
        >>> low, high = found.interval(0.95)                               # [layer, head] each
        >>> found.n_exact.shape, found.cost <= 0.5
        (torch.Size([12, 12]), True)
        >>> doubtful = found.suspect                                       # [layer, head]

    Intervals are those of Student's t with Satterthwaite's (1946) degrees of freedom. Everything else is as in
    `Effects`: `mean`, `stderr`, `p_values`, `significant`, `top`, `to_dataframe`, `plot`, `save`. Only
    `normalized_interval` is missing: how effects and scores move together is known from the few pairs that were run.

    Attributes:
        exact_values: the exact effect of each head on the pairs that it was run on, `[pair, layer, head]`, in the
            metric's unit; NaN on the others.
        covariate: what is known of every pair, `[pair, layer, head]`; 0 for a head that has not earned one. NaN on a
            pair whose effect is no number, so that the estimate is none.
        tail: the expected square of what the covariate is off by, up to a factor, `[pair, layer, head]`.
        task_of: each pair's task, as a number, `[pair]`.
        order: the order in which pairs were run, `[pair]`.
        clean: the metric on each clean prompt, `[pair]`.
        corrupted: the metric on each corrupted prompt, `[pair]`; None where no corrupted run was made.
        dims: `("layer", "head")`.
        site: the activation that was replaced.
        kind: what replaced it.
        metric: the metric's name.
        cost: what it took, as a share of the exact sweep on all pairs, in forward-equivalents.
        cost_by_clock: the same in seconds, the exact sweep's being those of its first pairs, scaled up.
        covariate_names: what the covariate is made of: `none`, `first order`, `last position` or `bf16`.
        seconds: how long it took.
        given: the metric with the given heads replaced and nothing else, `[pair]`; None without such heads.
        coords: which layers and heads the axes stand for.
    """

    exact_values: Float[Tensor, "pair layer head"]
    covariate: Float[Tensor, "pair layer head"]
    tail: Float[Tensor, "pair layer head"]
    task_of: Int[Tensor, " pair"]
    order: Int[Tensor, " pair"]
    clean: Float[Tensor, " pair"]
    corrupted: Float[Tensor, " pair"] | None
    dims: tuple[str, ...]
    site: str
    kind: str
    metric: str
    cost: float
    cost_by_clock: float
    covariate_names: tuple[str, ...]
    seconds: float = 0.0
    given: Float[Tensor, " pair"] | None = None
    coords: Coords = field(default_factory=dict)

    exact = False

    @cached_property
    def mean(self) -> Float[Tensor, "layer head"]:
        """The effect averaged over pairs, `[layer, head]`: mean of the covariate, and of what it was off by."""
        return self._as_heads(self._estimate.mean)

    @cached_property
    def stderr(self) -> Float[Tensor, "layer head"]:
        """The standard error as an estimate of the mean over all prompts like these, `[layer, head]`."""
        return self._as_heads(self._estimate.stderr)

    @cached_property
    def degrees_of_freedom(self) -> Float[Tensor, "layer head"]:
        """Satterthwaite's, of `stderr`, `[layer, head]`."""
        return self._as_heads(self._estimate.degrees_of_freedom)

    @cached_property
    def n_exact(self) -> Int[Tensor, "layer head"]:
        """On how many pairs each head was run, `[layer, head]`."""
        return (~self.exact_values.isnan()).sum(0)

    @cached_property
    def suspect(self) -> Bool[Tensor, "layer head"]:  # type: ignore[override]
        """Whose interval is not to be trusted, `[layer, head]`.

        Of a head that wasn't run on all pairs, either the runs have missed most of a tail that is known to be there:
        the squared residual that is expected of a pair is more than 3 times as large, on average over all pairs, as
        over those that were run. Or a covariate is used that explains less than 80 % of the head's variance, so that
        few pairs may carry what it misses; or none is, and fewer than 16 pairs were run. Of any head, the spread may
        lie in fewer than 8 pairs (and than an eighth of all) by `share_of_spread`: other pairs would have other such
        ones, so that the exact sweep's interval holds less often than it says, too. The page 'estimates' of the
        documentation says how often intervals held.
        """
        missed = self._as_heads(self._estimate.tail_missed) > TAIL_MISSED
        explained = self.covariate_r2 >= _EXPLAINED
        unknown = self.n_exact < _FEW_RUNS if self.covariate_names == ("none",) else True
        weak = ~explained & ~self.covariate_r2.isnan() & unknown
        carrying = self._as_heads(share_of_spread(self._known))
        few = (carrying * self.n < _FEW_PAIRS) & (carrying < 1 / _FEW_PAIRS)
        return few | ((missed | weak) & (self.n_exact < self.n))

    @cached_property
    def covariate_r2(self) -> Float[Tensor, "layer head"]:
        """The share of the exact effects' variance that the covariate explains, over the pairs run, `[layer, head]`.

        NaN where a head's effect is the same on all of them.
        """
        exact, residual = _cells(self.exact_values), _cells(self.exact_values - self.covariate)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._as_heads(1 - squares_where_known(residual) / squares_where_known(exact))

    @property
    def title(self) -> str:
        """What was asked, in a few words, such as `z, mean ablation, estimated, 64 pairs`."""
        share = f"{self.cost:.0%}".replace("%", " %")
        return f"{self._asked}, estimated at {share} of the exact cost, {how_many(self.n, 'pair')}"

    @cached_property
    def _estimate(self) -> MeanEstimate:
        exact, covariate, tail = map(_cells, (self.exact_values, self.covariate, self.tail))
        return difference_estimate(exact, covariate, tail, self.task_of.cpu().numpy())

    @property
    def _known(self) -> np.ndarray:
        """The effects as far as they are known, `[pair, cell]`: NaN for a pair of which nothing is."""
        exact, covariate = _cells(self.exact_values), _cells(self.covariate)
        run = ~np.isnan(exact)
        elsewhere = covariate + np.where(run, exact - covariate, 0.0).sum(0) / np.maximum(run.sum(0), 1)
        return np.where(run, exact, np.where((covariate != 0).any(0), elsewhere, np.nan))

    def _as_heads(self, values: np.ndarray) -> Tensor:
        found = torch.from_numpy(np.ascontiguousarray(values)).reshape(self.exact_values.shape[1:])
        return found.to(self.exact_values)


def _cells(values: Tensor) -> np.ndarray:
    """`[pair, layer, head]` as `[pair, cell]` in float64."""
    return values.flatten(1).double().cpu().numpy()
