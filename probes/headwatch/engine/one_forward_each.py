"""One forward per intervention, through hook points: slow, and right for whatever the modules compute.

Serves models whose forward the sweep engine can't follow. Cost: (layers × units × positions) forwards, for path
patching twice as many.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.cell_names import Head
from headwatch.engine.experiment import NewValues
from headwatch.interventions.batch import Batch, Sweep
from headwatch.interventions.write_heads import write_heads
from headwatch.model.activation_names import act_name
from headwatch.model.hooked_model import HookedModel, HookFunction, HookPoint

Hooks = list[tuple[str, HookFunction]]
Forward = Callable[[Tensor, Tensor, Sequence[str]], tuple[Tensor, Mapping[str, Tensor]]]


class HookedRun(NamedTuple):
    """Some prompts run by the model's own forward.

    Attributes:
        batch: the prompts.
        measured: the metrics on each.
        kept: the site's activation by layer, where new values may come from this run.
    """

    batch: Batch
    measured: Float[Tensor, "metric pair"]
    kept: Mapping[int, Tensor]


@dataclass(frozen=True)
class HooksBackend:
    """Runs prompts of any lengths.

    Attributes:
        hooked: the model.
        sweep: which interventions.
        elsewhere: the new values by layer where they come from no run of these prompts, else None.
        forward: runs prompts without an intervention (ids, mask, names → logits, activations), where that is not
            the model's to do again.
    """

    hooked: HookedModel
    sweep: Sweep
    elsewhere: NewValues | None
    forward: Forward | None = None

    def run(self, batch: Batch) -> HookedRun:
        """Run some prompts; those that come without clean logits are the clean ones themselves."""
        names = {}
        if self.elsewhere is None:
            names = {layer: self.sweep.site.at(layer) for layer in self.sweep.written}
        read = [metric.activation.name for metric in self.sweep.metrics if metric.activation is not None]
        forward = self.forward or self.hooked.run_with_cache
        logits, cache = forward(batch.ids, batch.mask, [*names.values(), *read])
        if batch.targets.clean_logits is None and any(each.name == "kl" for each in self.sweep.metrics):
            batch = batch.compared_with(batch.at_answer(logits))
        measured = torch.stack([batch.read(metric, logits, cache) for metric in self.sweep.metrics])
        return HookedRun(batch, measured, {layer: cache[name] for layer, name in names.items()})

    def new_values(self, source: HookedRun | None) -> NewValues:
        """The values to write in a layer: those of a run, or those that come from elsewhere."""
        if source is None:
            assert self.elsewhere is not None
            return self.elsewhere
        return source.kept.__getitem__

    def with_given_heads(self, base: HookedRun, new: NewValues) -> HookedRun:
        """A run in which the given heads have their new values."""
        return self._hooked_run(base.batch, self._replaced_heads(self.sweep.given, new))

    def intervene(
        self, base: HookedRun, new: NewValues, done: Callable[[int], None]
    ) -> Float[Tensor, "metric pair intervention"]:
        """The metrics under each intervention on a run; `done` is told of so many interventions more."""
        results = []
        for hooks in self._interventions(base.batch, new):
            results.append(base.measured if hooks is None else self._hooked_run(base.batch, hooks).measured)
            done(1)
        return torch.stack(results, dim=-1)

    def _hooked_run(self, batch: Batch, hooks: Hooks) -> HookedRun:
        return HookedRun(batch, batch.measure(self.hooked, self.sweep.metrics, hooks), {})

    def _cache(self, batch: Batch, names: list[str], hooks: Hooks | None = None) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(batch.ids, batch.mask, names, fwd_hooks=hooks or [])[1]

    def _interventions(self, batch: Batch, new: NewValues) -> Iterator[Hooks | None]:
        """The hooks of every intervention, in the order of the result's axes; None for one that isn't asked for."""
        if self.sweep.sets is not None:
            yield from (self._replaced_heads(heads, new) for heads in self.sweep.sets)
        elif self.sweep.paths is not None:
            yield from self._paths(batch, new)
        else:
            yield from self._one_by_one(batch, new)

    def _one_by_one(self, batch: Batch, new: NewValues) -> Iterator[Hooks | None]:
        given = self._replaced_heads(self.sweep.given, new)
        units: tuple[int | None, ...] = self.sweep.units if self.sweep.units is not None else (None,)
        positions: Sequence[int | None] = (None,)
        if self.sweep.by_position:
            positions = self.sweep.chosen_positions(batch.length)
        for layer in self.sweep.layers:
            name, values = self.sweep.site.at(layer), new(layer)
            for unit in units:
                asked = self.sweep.asks_for(layer, unit)
                for position in positions:
                    hook = (name, _replace(self.sweep, values, unit, position))
                    yield [*given, hook] if asked else None

    def _replaced_heads(self, heads: Sequence[Head], new: NewValues) -> Hooks:
        """Hooks that write the new z of several heads."""
        return [
            (self.sweep.site.at(layer), _replace(self.sweep, new(layer), head, None)) for layer, head in heads
        ]

    def _paths(self, batch: Batch, new: NewValues) -> Iterator[Hooks]:
        """Hooks that let some receivers alone see what a sender writes, sender by sender."""
        frozen = [(name, _always(value)) for name, value in self._frozen(batch).items()]
        for layer in self.sweep.layers:
            for head in self.sweep.units or ():
                yield self._received(batch, [*frozen, *self._replaced_heads([(layer, head)], new)])

    def _received(self, batch: Batch, sent: Hooks) -> Hooks:
        """Hooks that write what the receivers see of a sender, where they aren't the logits."""
        assert self.sweep.paths is not None
        if self.sweep.paths.receivers is None:
            return sent
        names: dict[str, list[int]] = {}
        for layer, head in self.sweep.paths.receivers:
            names.setdefault(act_name(self.sweep.paths.receiver_input, layer), []).append(head)
        seen = self._cache(batch, list(names), sent)
        return [(name, write_heads(heads, seen[name])) for name, heads in names.items()]

    def _frozen(self, batch: Batch) -> Mapping[str, Tensor]:
        """What every head, and every MLP where they are frozen, writes in the run without intervention."""
        assert self.sweep.paths is not None
        sites = ["z"] if self.sweep.paths.mlps == "recomputed" else ["z", "mlp_out"]
        names = [act_name(site, layer) for layer in range(self.hooked.sizes.n_layers) for site in sites]
        cache = self._cache(batch, names)
        return {name: cache[name] for name in names}


def _always(value: Tensor) -> HookFunction:
    return lambda old, hook: value


def _replace(sweep: Sweep, new: Tensor, unit: int | None, position: int | None) -> HookFunction:
    """A hook function that writes one unit's new value, at one position or at all."""
    where = slice(None) if position is None else slice(position, position + 1)

    def function(value: Tensor, hook: HookPoint) -> Tensor:
        replaced = value.clone()
        source = new.to(value).expand_as(value)
        if sweep.site.is_pattern:
            replaced[:, unit, where] = source[:, unit, where]
        elif unit is None:
            replaced[:, where] = source[:, where]
        elif sweep.site.unit == "head":
            replaced[:, where, unit] = source[:, where, unit]
        else:
            replaced[:, where, unit : unit + 1] = source[:, where, unit : unit + 1]
        return replaced

    return function
