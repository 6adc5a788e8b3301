"""One forward per intervention, through hook points: slow, and right for whatever the modules compute.

Serves models whose forward the sweep engine can't follow. Cost: (layers × units × positions) forwards.
"""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.batch import Batch, Sweep
from headwatch.hooks import HookedGPT2, HookFunction, HookPoint


def sweep_by_hooks(
    hooked: HookedGPT2, batch: Batch, sweep: Sweep, values: Mapping[int, Tensor]
) -> Float[Tensor, "pair *dims"]:
    """The metric under each intervention, `[pair, *dims]`, intervening on one batch of prompts.

    Args:
        hooked: the model.
        batch: the prompts that are run.
        sweep: which interventions.
        values: what is written at the site, by layer.
    """
    results = []
    for layer, unit, position in _interventions(sweep, batch):
        function = _replace(sweep, values[layer], unit, position)
        results.append(batch.measure(hooked, sweep.metric, [(sweep.site.at(layer), function)]))
    return torch.stack(results, dim=1).unflatten(1, sweep.shape(batch))


def _interventions(sweep: Sweep, batch: Batch) -> Iterator[tuple[int, int | None, int | None]]:
    """Every (layer, head or neuron, position) in the order of the result's axes."""
    units: tuple[int | None, ...] = sweep.units if sweep.units is not None else (None,)
    positions: tuple[int | None, ...] = tuple(range(batch.length)) if sweep.by_position else (None,)
    for layer in sweep.layers:
        for unit in units:
            for position in positions:
                yield layer, unit, position


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
