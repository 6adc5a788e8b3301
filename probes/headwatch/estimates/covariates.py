"""What is cheap to know of every pair, and moves with the exact effect: the parts that estimates rest on.

| covariate | of every pair | cost of GPT-2 small's ablation sweep |
|---|---|---|
| `none` | nothing | 0 |
| `first order` | the first-order effect | 0.06 |
| `last position` | exact at the answer position, first order elsewhere | 0.13 |
| `bf16` | the exact effect in bfloat16 | as fast as the machine multiplies such numbers |

None wins everywhere: what each saves is measured on the first few pairs, and the one that makes the whole cheapest is
used. On `loss` first-order effects are those of the answer's log-odds, mapped to the loss exactly.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch.nn.functional import softplus

from headwatch.attribution.first_order import SITES_OF_HEADS
from headwatch.estimates.head_sweep import HeadSweep, Rows, Values
from headwatch.estimates.speed_of_bf16 import speed_of_bf16

_LEAST_LOSS = 1e-7  # in float32 less is noise
_WORTH_TRYING = 2.0  # times faster
_SHARE_OF_SIZE = 0.1  # of a covariate's size that it is expected to be off by, where nothing else is known


class Guess(NamedTuple):
    """What a covariate says of some pairs: their effects, and the expected square of what these are off by."""

    values: Values
    tail: Values


@dataclass(frozen=True)
class Covariate(ABC):
    """Something cheap to know of every pair.

    Attributes:
        question: the question that it helps to answer.
    """

    question: HeadSweep
    name: ClassVar[str]

    @abstractmethod
    def serves(self) -> bool:
        """Whether it can be had for this question, on this machine."""

    @abstractmethod
    def cost(self) -> float:
        """Of one pair, in forward-equivalents."""

    @abstractmethod
    def guess(self, rows: Rows) -> Guess:
        """What it says of some pairs."""


class NoCovariate(Covariate):
    """Nothing is known of pairs that are not run."""

    name = "none"

    def serves(self) -> bool:
        """Always."""
        return True

    def cost(self) -> float:
        """Nothing."""
        return 0.0

    def guess(self, rows: Rows) -> Guess:
        """Zeros, with no tail."""
        nothing = np.zeros((len(rows), int(np.prod(self.question.shape))))
        return Guess(nothing, nothing)


class FirstOrder(Covariate):
    """The first-order effect, as by `attribute_heads`."""

    name = "first order"

    def serves(self) -> bool:
        """Where the metric has a gradient on the run that is intervened on, at a site that attribution knows."""
        sweep = self.question.run.sweep
        at_its_minimum = sweep.metric.name == "kl" and self.question.run.kind != "denoise"
        return sweep.metric.name != "accuracy" and not at_its_minimum and sweep.site.name in SITES_OF_HEADS

    def cost(self) -> float:
        """A forward and a backward."""
        return self.question.costs.first_order

    def guess(self, rows: Rows) -> Guess:
        """The effects to first order."""
        effects = self.question.first_order_together(rows)
        values = mapped(self.question, rows, np.zeros_like(effects), effects)
        return Guess(values, (_SHARE_OF_SIZE * values) ** 2)


class LastPosition(Covariate):
    """The exact effect of the answer position alone, and the first-order one of all others."""

    name = "last position"

    def serves(self) -> bool:
        """Where first order does, the metric is read at the answer, and a site's positions add up to first order."""
        sweep = self.question.run.sweep
        first_order = FirstOrder(self.question).serves()
        return first_order and sweep.metric.reads in ("answers", "vocabulary") and sweep.site.name != "k"

    def cost(self) -> float:
        """That of first order, and the heads at one position on runs of their own."""
        costs = self.question.costs
        return costs.first_order + costs.base + float(self.question.of_each_head(costs.last).sum())

    def guess(self, rows: Rows) -> Guess:
        """The sum of both; where it differs from first order alone, curvature is likely elsewhere too."""
        at_answer, elsewhere = self.question.first_order(rows)
        exact = self.question.at_answer(rows)
        values = mapped(self.question, rows, exact, elsewhere)
        first_order = mapped(self.question, rows, np.zeros_like(exact), at_answer + elsewhere)
        return Guess(values, (np.abs(values - first_order) + _SHARE_OF_SIZE * np.abs(values)) ** 2)


class Bf16(Covariate):
    """The exact effect in bfloat16."""

    name = "bf16"

    def serves(self) -> bool:
        """Where the model's own numbers are wider, and the machine is at least twice as fast with these."""
        run = self.question.run
        wider = run.hooked.architecture.dtype == torch.float32 and run.options.precision is None
        return wider and run.engine_answers and speed_of_bf16(self.question) >= _WORTH_TRYING

    def cost(self) -> float:
        """The whole sweep, divided by how much faster it is."""
        costs = self.question.costs
        exact = float(self.question.of_each_head(costs.exact).sum())
        return (exact + costs.base) / speed_of_bf16(self.question)

    def guess(self, rows: Rows) -> Guess:
        """The effects; what rounding does is no larger for one pair than for another."""
        values = self.question.in_bf16(rows)
        return Guess(values, np.zeros_like(values))


COVARIATES: tuple[type[Covariate], ...] = (NoCovariate, FirstOrder, LastPosition, Bf16)


def mapped(question: HeadSweep, rows: Rows, exact_part: Values, first_order: Values) -> Values:
    """An effect of an exact part and a first-order one: their sum, but for `loss`, which saturates.

    The loss is softplus(−o) of the answer's log-odds o, in which effects are far closer to linear: ∂loss/∂o is
    −(1 − p) on the run that is intervened on.
    """
    if question.run.sweep.metric.name != "loss":
        return exact_part + first_order
    base = torch.from_numpy(question.not_intervened(rows)[question.base][rows])[:, None]
    wrong = -torch.expm1(-base.clamp(min=_LEAST_LOSS))
    changed = (base + torch.from_numpy(exact_part)).clamp(min=_LEAST_LOSS)
    odds_against = torch.log(torch.expm1(changed)) + torch.from_numpy(first_order) / wrong
    return (softplus(odds_against) - base).numpy()
