"""One forward per intervention, through hook points: slow, and right for whatever the modules compute.

Serves models whose forward the sweep engine can't follow. Cost: (layers × units × positions) forwards, for path
patching twice as many.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.pinned_heads import Head
from headwatch.interventions.batch import Batch, Sweep
from headwatch.model.activation_names import act_name
from headwatch.model.hooked_model import HookedGPT2, HookFunction, HookPoint

Hooks = list[tuple[str, HookFunction]]


@dataclass(frozen=True)
class SweepByHooks:
    """A sweep on one batch of prompts.

    Attributes:
        hooked: the model.
        batch: the prompts that are run.
        sweep: which interventions.
        values: what is written at the site, by layer.
    """

    hooked: HookedGPT2
    batch: Batch
    sweep: Sweep
    values: Mapping[int, Tensor]

    def run(self) -> Float[Tensor, "pair *dims"]:
        """The metric under each intervention, `[pair, *dims]`."""
        results = [
            self.batch.measure(self.hooked, self.sweep.metric, hooks) for hooks in self._interventions()
        ]
        return torch.stack(results, dim=1).unflatten(1, self.sweep.shape(self.batch))

    def not_intervened(self) -> Float[Tensor, " pair"]:
        """The metric with the given heads replaced and nothing else, `[pair]`."""
        return self.batch.measure(self.hooked, self.sweep.metric, self._replaced_heads(self.sweep.given))

    def _interventions(self) -> Iterator[Hooks]:
        """The hooks of every intervention, in the order of the result's axes."""
        if self.sweep.sets is not None:
            yield from (self._replaced_heads(heads) for heads in self.sweep.sets)
            return
        given = self._replaced_heads(self.sweep.given)
        units: tuple[int | None, ...] = self.sweep.units if self.sweep.units is not None else (None,)
        positions = tuple(range(self.batch.length)) if self.sweep.by_position else (None,)
        for layer in self.sweep.layers:
            for unit in units:
                if self.sweep.paths is not None:
                    assert unit is not None
                    yield self._path_from((layer, unit))
                    continue
                for position in positions:
                    function = _replace(self.sweep, self.values[layer], unit, position)
                    yield [*given, (self.sweep.site.at(layer), function)]

    def _replaced_heads(self, heads: Sequence[Head]) -> Hooks:
        """Hooks that write the new z of several heads."""
        return [
            (self.sweep.site.at(layer), _replace(self.sweep, self.values[layer], head, None))
            for layer, head in heads
        ]

    def _path_from(self, sender: Head) -> Hooks:
        """Hooks that let some receivers alone see what a sender writes."""
        assert self.sweep.paths is not None
        frozen = [(name, _always(value)) for name, value in self._frozen.items()]
        hooks = [*frozen, *self._replaced_heads([sender])]
        if self.sweep.paths.receivers is None:
            return hooks
        into, names = self.sweep.paths.into, dict[str, list[int]]()
        for layer, head in self.sweep.paths.receivers:
            names.setdefault(act_name(into, layer), []).append(head)
        _, seen = self.hooked.run_with_cache(self.batch.ids, self.batch.mask, list(names), fwd_hooks=hooks)
        return [(name, _write_heads(heads, seen[name])) for name, heads in names.items()]

    @cached_property
    def _frozen(self) -> dict[str, Tensor]:
        """What every head, and every MLP where they are frozen, writes in the run without intervention."""
        assert self.sweep.paths is not None
        sites = ["z"] if self.sweep.paths.mlps == "recomputed" else ["z", "mlp_out"]
        names = [act_name(site, layer) for layer in range(self.hooked.layout.n_layers) for site in sites]
        _, cache = self.hooked.run_with_cache(self.batch.ids, self.batch.mask, names)
        return {name: cache[name] for name in names}


def _always(value: Tensor) -> HookFunction:
    return lambda old, hook: value


def _write_heads(heads: Sequence[int], new: Tensor) -> HookFunction:
    """A hook function that writes several heads' q, k, v or z."""

    def function(value: Tensor, hook: HookPoint) -> Tensor:
        replaced = value.clone()
        replaced[:, :, heads] = new[:, :, heads]
        return replaced

    return function


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
