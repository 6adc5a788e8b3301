"""One forward with gradients: every replacement's effect along ∂metric/∂z, for all heads and metrics at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.attribution.first_order import HeadsOfLayer, estimate
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.batch import Batch, Sweep, make_batch
from headwatch.interventions.options import Options
from headwatch.interventions.write_heads import write_heads
from headwatch.model.activation_names import act_name
from headwatch.model.attention import causal_mask
from headwatch.model.hooked_model import HookedModel, HookFunction, HookPoint
from headwatch.prompts.pairs import PromptPairs


class Estimates(NamedTuple):
    """Estimates, and the metrics on the runs: `[metric, pair, *dims]` and `[metric, pair]`, or of one metric."""

    effects: Tensor
    clean: Tensor
    corrupted: Tensor | None
    given: Tensor | None

    def of_metric(self, number: int) -> "Estimates":
        """What was found with one of the metrics, in float32 and on the CPU."""
        effects, clean = self.effects[number], self.clean[number]
        corrupted, given = (None if part is None else part[number].float().cpu() for part in self[2:])
        return Estimates(effects.float().cpu(), clean.float().cpu(), corrupted, given)


def _joined(found: Sequence[Estimates]) -> Estimates:
    """What was found on some pairs after others."""
    effects, clean = (
        torch.cat(parts, dim=1) for parts in ([f.effects for f in found], [f.clean for f in found])
    )
    corrupted, given = (
        torch.cat(parts, dim=1) if parts else None
        for parts in (
            [f.corrupted for f in found if f.corrupted is not None],
            [f.given for f in found if f.given is not None],
        )
    )
    return Estimates(effects, clean, corrupted, given)


@dataclass(frozen=True)
class Attribution:
    """One attribution under way: `run` gives the estimates on all pairs."""

    hooked: HookedModel
    pairs: PromptPairs
    sweep: Sweep
    kind: str
    values: AblationValues | None

    def run(self, options: Options, rows: Tensor | None = None) -> Estimates:
        """Estimates on all pairs, or on some."""
        found = list[Estimates]()
        rows = torch.arange(len(self.pairs)) if rows is None else rows
        for done, some in enumerate(rows.split(options.batch_size)):
            found.append(self._patch(some) if self.values is None else self._ablate(some, self.values))
            if options.progress is not None:
                options.progress(min((done + 1) * options.batch_size, len(rows)), len(rows))
        return _joined(found)

    def _ablate(self, rows: Tensor, values: AblationValues) -> Estimates:
        new = values.on(rows, self.sweep.site, self.sweep.written)
        base = make_batch(self.pairs[rows], corrupted=False, clean_logits=None)
        effects, on_base = self._linearise(base, new)
        clean, given = self._told_apart(base, on_base)
        return Estimates(effects, clean, None, given)

    def _patch(self, rows: Tensor) -> Estimates:
        some, denoise = self.pairs[rows], self.kind == "denoise"
        source = make_batch(some, corrupted=not denoise, clean_logits=None)
        names = {layer: self.sweep.site.at(layer) for layer in self.sweep.written}
        logits, cache = self.hooked.run_with_cache(
            source.ids,
            source.mask,
            [*names.values(), *self._read_by_metrics],
            logits_at=source.answers_at(self.sweep.metrics),
        )
        if denoise:
            source = source.compared_with(source.at_answer(logits))
        on_source = torch.stack([source.read(one, logits, cache) for one in self.sweep.metrics])
        base = make_batch(some, corrupted=denoise, clean_logits=source.targets.clean_logits)
        effects, on_base = self._linearise(base, {layer: cache[name] for layer, name in names.items()})
        on_base, given = self._told_apart(base, on_base)
        runs = (on_source, on_base) if denoise else (on_base, on_source)
        return Estimates(effects, *runs, given)

    def _told_apart(self, base: Batch, measured: Tensor) -> tuple[Tensor, Tensor | None]:
        """The metrics without anything replaced, and those with the given heads replaced, if there are any."""
        if not self.sweep.given:
            return measured, None
        return base.measure(self.hooked, self.sweep.metrics), measured

    def _linearise(
        self, batch: Batch, new: Mapping[int, Tensor]
    ) -> tuple[Float[Tensor, "metric pair layer head *position"], Float[Tensor, "metric pair"]]:
        """The effects of replacing the site by `new`, and the metrics as they are, by one forward."""
        site, shorts = self.sweep.site.name, ("z",) if self.sweep.site.name == "z" else ("q", "k", "v", "z")
        names = [act_name(short, layer) for short in shorts for layer in self.sweep.layers]
        measured, cache, gradients = self._with_gradients(batch, names, new)
        allowed = causal_mask(batch.ids, batch.mask)
        effects = []
        with torch.autocast(batch.ids.device.type, enabled=False):
            for layer in self.sweep.layers:
                z = _wide(cache[act_name("z", layer)])
                q, k, v = (z if site == "z" else _wide(cache[act_name(short, layer)]) for short in "qkv")
                scores = partial(self.hooked.architecture.attention_scores, layer)
                of_metrics = []
                for gradient in gradients[layer]:
                    heads = HeadsOfLayer(scores, q, k, v, z, gradient.to(z), allowed)
                    effect = estimate(heads, site, new[layer].to(z), self.sweep.by_position)
                    of_metrics.append(effect[:, list(self.sweep.units or ())])
                effects.append(torch.stack(of_metrics))
        return torch.stack(effects, dim=2), measured

    def _with_gradients(
        self, batch: Batch, names: list[str], new: Mapping[int, Tensor]
    ) -> tuple[Tensor, Mapping[str, Tensor], dict[int, list[Tensor]]]:
        """The metrics per pair, activations, and each metric's gradient with respect to each layer's z."""
        leaves: dict[int, Tensor] = {}
        given = [(act_name("z", layer), write_heads([head], new[layer])) for layer, head in self.sweep.given]
        hooks = [(act_name("z", layer), _add_leaf(leaves, layer)) for layer in self.sweep.layers]
        wanted = [*names, *self._read_by_metrics]
        with torch.enable_grad():
            logits, cache = self.hooked.run_with_cache(
                batch.ids,
                batch.mask,
                wanted,
                fwd_hooks=[*given, *hooks],
                detach=False,
                logits_at=batch.answers_at(self.sweep.metrics),
            )
            measured = [batch.read(one, logits, cache) for one in self.sweep.metrics]
            gradients = self._gradients(measured, list(leaves.values()))
        kept = {name: value.detach() for name, value in cache.items()}
        by_layer = dict(zip(leaves, map(list, zip(*gradients, strict=True)), strict=True))
        return torch.stack(measured).detach(), kept, by_layer

    def _gradients(self, measured: list[Tensor], leaves: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """Each metric's gradient with respect to each leaf: one backward a metric."""
        for metric, values in zip(self.sweep.metrics, measured, strict=True):
            if not values.requires_grad:
                raise ValueError(f"{metric.name} has no gradient with respect to any head's z")
        last = len(measured) - 1
        return [
            torch.autograd.grad(values.sum(), leaves, retain_graph=number < last, materialize_grads=True)
            for number, values in enumerate(measured)
        ]

    @property
    def _read_by_metrics(self) -> list[str]:
        return [one.activation.name for one in self.sweep.metrics if one.activation is not None]


def _add_leaf(leaves: dict[int, Tensor], layer: int) -> HookFunction:
    """A hook that adds zeros whose gradient is that of the activation."""

    def function(value: Tensor, hook: HookPoint) -> Tensor:
        leaves[layer] = torch.zeros_like(value, requires_grad=True)
        return value + leaves[layer]

    return function


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()
