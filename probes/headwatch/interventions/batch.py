"""What a sweep is asked: which interventions (`Sweep`), on which prompts (`Batch`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.cell_names import Head, Place
from headwatch.interventions.sites import Site
from headwatch.metrics import ActivationAt, Metric, Targets
from headwatch.model.hooked_model import HookedModel, HookFunction
from headwatch.prompts.pairs import PromptPairs


@dataclass(frozen=True)
class Paths:
    """Which ways from a head on are open: those that attention doesn't take, to some receivers.

    Attributes:
        receivers: heads that see what the sender writes, as (layer, head); None for the logits.
        receiver_input: what of theirs reads it: `q`, `k` or `v`.
        mlps: whether the MLPs between see it too: `recomputed` or `frozen`.
    """

    receivers: tuple[Head, ...] | None
    receiver_input: str
    mlps: str

    @property
    def layers(self) -> tuple[int, ...]:
        """The receivers' layers, from below."""
        return tuple(sorted({layer for layer, _ in self.receivers or ()}))


@dataclass(frozen=True)
class Sweep:
    """A set of interventions: one site, some layers, heads or neurons one at a time, maybe each position alone.

    Attributes:
        site: the activation that is replaced.
        layers: in which layers.
        units: which heads or neurons, one at a time; None where the site is a whole layer's.
        by_position: one position at a time, rather than all at once.
        metrics: what is measured; where one is read off an activation, it is the only one.
        given: heads that are replaced in every run, those without another intervention too, as (layer, head).
        sets: sets of heads that are replaced together, in place of layers and units.
        paths: replace the heads only as some receivers see them.
        positions: which positions, one at a time; None for all.
        only: of the heads or neurons, those that are replaced, as (layer, unit); None for all. The effects of the
            others are NaN.
    """

    site: Site
    layers: tuple[int, ...]
    units: tuple[int, ...] | None
    by_position: bool
    metrics: tuple[Metric, ...]
    given: tuple[Head, ...] = ()
    sets: tuple[tuple[Head, ...], ...] | None = None
    paths: Paths | None = None
    positions: tuple[int, ...] | None = None
    only: frozenset[Head] | None = None

    @property
    def metric(self) -> Metric:
        """The first metric."""
        return self.metrics[0]

    @property
    def activation(self) -> ActivationAt | None:
        """The activation off which the metric is read, where that isn't the logits."""
        return self.metric.activation

    @property
    def answer_only(self) -> bool:
        """Whether nothing is read but the logits at the answer position."""
        return all(metric.reads in ("answers", "vocabulary") for metric in self.metrics)

    @property
    def written(self) -> tuple[int, ...]:
        """The layers in which something is written."""
        heads = [*self.given, *(head for heads in self.sets or () for head in heads)]
        return tuple(sorted({*self.layers, *(layer for layer, _ in heads)}))

    @property
    def receivers(self) -> str | tuple[Head, ...] | None:
        """Who alone sees what is replaced: `logits` or some heads; None where everything above does."""
        return None if self.paths is None else self.paths.receivers or "logits"

    @property
    def dims(self) -> tuple[str, ...]:
        """What the axes of the result after `pair` are."""
        if self.sets is not None:
            return ("set",)
        unit = () if self.units is None else (self.site.unit,)
        return ("layer", *unit, *(("position",) if self.by_position else ()))

    def coords(self, n_positions: int) -> dict[str, tuple[Place, ...]]:
        """The layers, heads, neurons, positions or sets of heads that those axes stand for, by axis."""
        if self.sets is not None:
            return {"set": self.sets}
        units = {} if self.units is None else {self.site.unit: self.units}
        positions = {"position": self.chosen_positions(n_positions)} if self.by_position else {}
        return {"layer": self.layers, **units, **positions}

    def chosen_positions(self, n_positions: int) -> tuple[int, ...]:
        """The positions that are replaced one at a time, of prompts of so many."""
        return tuple(range(n_positions)) if self.positions is None else self.positions

    def asks_for(self, layer: int, unit: int | None) -> bool:
        """Whether a head or neuron of a layer, or the layer as a whole, is replaced."""
        return self.only is None or (layer, unit) in self.only

    def shape(self, batch: "Batch") -> tuple[int, ...]:
        """The sizes of those axes."""
        return tuple(len(places) for places in self.coords(batch.length).values())


@dataclass(frozen=True)
class Batch:
    """Prompts that are run together.

    Attributes:
        ids: their tokens, right-padded, `[pair, pos]`.
        mask: 1 at real tokens, `[pair, pos]`.
        position: where the metric is read, `[pair]`.
        targets: what it is compared with.
    """

    ids: Int[Tensor, "pair pos"]
    mask: Int[Tensor, "pair pos"]
    position: Int[Tensor, " pair"]
    targets: Targets

    @property
    def length(self) -> int:
        """The number of positions, padding included."""
        return self.ids.shape[1]

    def answers_at(self, metrics: Sequence[Metric]) -> int | None:
        """The one position whose logits some metrics read; None where they read several."""
        position = int(self.position[0])
        everywhere = any(metric.reads == "sequence" for metric in metrics)
        return None if everywhere or bool((self.position != position).any()) else position

    def compared_with(self, clean_logits: Float[Tensor, "pair vocab"]) -> "Batch":
        """The batch with what `kl` compares with: the clean run's logits at the answer."""
        return replace(self, targets=replace(self.targets, clean_logits=clean_logits))

    def measure(
        self,
        hooked: HookedModel,
        metrics: Sequence[Metric],
        fwd_hooks: Sequence[tuple[str, HookFunction]] = (),
    ) -> Float[Tensor, "metric pair"]:
        """The metrics on each prompt, by one forward of the model's own with hooks."""
        names = [metric.activation.name for metric in metrics if metric.activation is not None]
        logits, cache = hooked.run_with_cache(self.ids, self.mask, names, fwd_hooks=fwd_hooks)
        return torch.stack([self.read(metric, logits, cache) for metric in metrics])

    def read(
        self, metric: Metric, logits: Float[Tensor, "pair pos vocab"], cache: Mapping[str, Tensor]
    ) -> Float[Tensor, " pair"]:
        """The metric on each prompt, from a run's logits and activations."""
        if metric.activation is not None:
            return metric.activation.read(cache[metric.activation.name], self.position)
        return self.from_logits(metric, logits)

    def from_logits(self, metric: Metric, logits: Float[Tensor, "pair pos vocab"]) -> Float[Tensor, " pair"]:
        """The metric on each prompt, from the logits everywhere."""
        if metric.reads == "sequence":
            return metric.function(logits, self.targets)
        return metric(self.at_answer(logits), self.targets)

    def at_answer(self, logits: Float[Tensor, "pair pos vocab"]) -> Float[Tensor, "pair vocab"]:
        """The logits at each prompt's answer position, from those everywhere or there alone."""
        if logits.shape[1] == 1:
            return logits[:, 0]
        return logits[torch.arange(len(logits), device=logits.device), self.position]


def make_batch(pairs: PromptPairs, *, corrupted: bool, clean_logits: Tensor | None) -> Batch:
    """The clean or the corrupted prompts of some pairs."""
    ids = pairs.corrupted if corrupted else pairs.clean
    targets = Targets(
        answer=pairs.answer,
        foil=pairs.foil,
        ids=ids,
        lengths=pairs.lengths,
        clean_logits=clean_logits,
        answer_set=pairs.answer_set,
        foil_set=pairs.foil_set,
    )
    return Batch(ids, pairs.attention_mask, pairs.position, targets)
