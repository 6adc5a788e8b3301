"""One experiment on some pairs, written once for both ways of running a model.

| run | prompts | what is replaced |
|---|---|---|
| clean | clean | nothing |
| corrupted | corrupted, for patching | nothing |
| base | the corrupted ones for `denoise`, else the clean ones | the given heads, where there are any |
| intervened | as in the base run | the given heads, and one thing more |

New values come from the source: the other one of clean and corrupted run for patching, else from elsewhere.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.interventions.batch import Batch, Sweep, make_batch
from headwatch.interventions.sites import DIRECTIONS
from headwatch.prompts.pairs import PromptPairs

NewValues = Callable[[int], Tensor]


@runtime_checkable
class Run(Protocol):
    """One run of some prompts."""

    @property
    def batch(self) -> Batch:
        """The prompts, and what they are compared with."""

    @property
    def measured(self) -> Float[Tensor, "metric pair"]:
        """The metrics on each prompt."""


R = TypeVar("R", bound=Run)


@runtime_checkable
class Backend(Protocol[R]):
    """A way of running a model with interventions, on the pairs of one batch."""

    def run(self, batch: Batch) -> R:
        """Run some prompts; those that come without clean logits are the clean ones themselves."""

    def new_values(self, source: R | None) -> NewValues:
        """The values to write in a layer: those of a run, or those that come from elsewhere."""

    def with_given_heads(self, base: R, new: NewValues) -> R:
        """A run in which the given heads have their new values."""

    def intervene(
        self, base: R, new: NewValues, done: Callable[[int], None]
    ) -> Float[Tensor, "metric pair intervention"]:
        """The metrics under each intervention on a run; `done` is told of so many interventions more."""


class SweepResult(NamedTuple):
    """What a sweep found: effects, and the metrics on the runs that they compare with.

    Attributes:
        effects: `[metric, pair, *dims]`, or of one metric alone `[pair, *dims]`; the others likewise.
        clean: the metrics on the clean prompts.
        corrupted: the metrics on the corrupted prompts, where they are run.
        given: the metrics with the given heads replaced, where there are any.
    """

    effects: Tensor
    clean: Tensor
    corrupted: Tensor | None
    given: Tensor | None

    def of_metric(self, number: int) -> "SweepResult":
        """What was found with one of the metrics."""
        corrupted, given = (None if part is None else part[number] for part in (self.corrupted, self.given))
        return SweepResult(self.effects[number], self.clean[number], corrupted, given)


def run_experiment(
    backend: Backend[R], pairs: PromptPairs, sweep: Sweep, kind: str, done: Callable[[int], None]
) -> SweepResult:
    """Every intervention of a sweep on some pairs, by either way of running the model."""
    clean = backend.run(make_batch(pairs, corrupted=False, clean_logits=None))
    corrupted = given = None
    if kind in DIRECTIONS:
        clean_logits = clean.batch.targets.clean_logits
        corrupted = backend.run(make_batch(pairs, corrupted=True, clean_logits=clean_logits))
    base, source = clean, corrupted
    if kind == "denoise" and corrupted is not None:
        base, source = corrupted, clean
    new = backend.new_values(source)
    if sweep.given:
        base = given = backend.with_given_heads(base, new)
    intervened = backend.intervene(base, new, done)
    effects = (intervened - base.measured[..., None]).unflatten(-1, sweep.shape(base.batch))
    effects = _asked_for(effects, sweep)
    return SweepResult(
        effects,
        clean.measured,
        None if corrupted is None else corrupted.measured,
        None if given is None else given.measured,
    )


def _asked_for(effects: Tensor, sweep: Sweep) -> Tensor:
    """The effects `[metric, pair, layer, unit, *position]`, NaN where nothing was replaced."""
    if sweep.only is None:
        return effects
    asked = [[sweep.asks_for(layer, unit) for unit in sweep.units or (None,)] for layer in sweep.layers]
    missing = ~torch.tensor(asked, device=effects.device)
    return effects.masked_fill(missing[..., None] if sweep.by_position else missing, torch.nan)


def join(results: list[SweepResult], order: Tensor) -> SweepResult:
    """The results on some pairs after others, put in the order of the pairs."""
    effects, clean, corrupted, given = (_joined(list(parts), order) for parts in zip(*results, strict=True))
    assert effects is not None
    assert clean is not None
    return SweepResult(effects, clean, corrupted, given)


def _joined(parts: list[Tensor | None], order: Tensor) -> Tensor | None:
    some = [part for part in parts if part is not None]
    return torch.cat(some, dim=1)[:, order.to(some[0].device)] if some else None
