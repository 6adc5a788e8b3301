"""Attribution: every head's effect to first order, for the cost of two forwards and one backward.

One forward with gradients gives ∂metric/∂z for all heads and pairs at once (attribution patching; Nanda 2023);
`first_order` makes effects of it. What is missed is the curvature of everything above a head: effects that are
large, or that layers above saturate or repair, need the exact sweep.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwatch.attribution.first_order import SITES_OF_HEADS, HeadsOfLayer, estimate
from headwatch.effects import Effects
from headwatch.interventions.batch import Batch, Sweep, make_batch
from headwatch.interventions.options import Options, SweepOptions, spell_out_options
from headwatch.interventions.sites import (
    ABLATIONS,
    DIRECTIONS,
    AblationKind,
    Direction,
    Replacement,
    replacement,
)
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList, get_metric
from headwatch.model.activation_names import act_name
from headwatch.model.attention import causal_mask
from headwatch.model.eval_mode import probing
from headwatch.model.gpt2 import attentions
from headwatch.model.hooked_model import HookedGPT2, HookFunction, HookPoint, attach
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of
from headwatch.scores.gradient_importance import pause_listening

Target = Direction | AblationKind
HeadSite = Literal["z", "q", "k", "v", "pattern"]
TARGETS = (*DIRECTIONS, *ABLATIONS)


@overload
def attribute_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    target: Target = ...,
    metric: str | Metric | None = ...,
    site: HeadSite = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def attribute_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    target: Target = ...,
    metric: MetricList,
    site: HeadSite = ...,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def attribute_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    target: str = "denoise",
    metric: str | Metric | MetricList | None = None,
    site: str = "z",
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """First-order estimates of what `patch_activations` or `ablate_heads` measures, for all heads at once.

    Example:
        >>> fast = hw.attribute_heads(model, pairs, target="denoise")
        >>> fast.mean.shape, fast.exact
        (torch.Size([12, 12]), False)

    Args:
        model: a GPT-2, or a module that contains one. No parameter's `.grad` is touched; inference mode is fine.
        pairs: the prompt pairs.
        target: which exact effect is estimated: `denoise` (the clean activation in the corrupted run), `noise` (the
            reverse), or an ablation in the clean run: `zero`, `mean`, `position_mean`, `resample`.
        metric: a name or a `Metric` that has a gradient; several in a list, which costs a backward more for each;
            None for the pairs' own.
        site: what is replaced: `z`, `q`, `k`, `v` or `pattern`; of a pattern, by position means query by query.
        **options: see `SweepOptions`. There is no engine here: the model's own forward runs, with hooks.

    Returns:
        Effects `[layer, head]` or `[layer, head, position]` with `exact=False`, in the metric's unit and with the
        sign of the exact effect: metric(intervened) − metric(not intervened). For several metrics a dict of them by
        the metric's name.

    Raises:
        ValueError: a bad argument, a metric without a gradient, pairs that don't fit the model, or prompts of
            several lengths where one is needed.
    """
    chosen = Options.of(options)
    _check(target, site, chosen)
    if isinstance(metric, list | tuple):
        return {get_metric(one).name: _one(model, pairs, target, one, site, chosen) for one in metric}
    return _one(model, pairs, target, metric, site, chosen)


def _one(
    model: nn.Module,
    pairs: PromptPairs,
    kind: str,
    metric: str | Metric | None,
    site: str,
    options: Options,
) -> Effects:
    started = time.perf_counter()
    with attach(model) as hooked, _measuring(hooked.model):
        pairs.check(hooked.layout)
        pairs = _fresh_copy(pairs, hooked.model.device)
        sweep = make_spec(hooked.layout, pairs, site, kind, metric, options)
        _check_gradient(sweep.metric, kind)
        parts = _Attribution(hooked, pairs, sweep, kind).run(options)
    effects, clean, corrupted = (torch.cat(part).float().cpu() if part else None for part in parts)
    assert effects is not None
    assert clean is not None
    seconds = time.perf_counter() - started
    name = sweep.metric.name
    return Effects(
        effects,
        clean,
        corrupted,
        sweep.dims,
        site,
        kind,
        name,
        exact=False,
        seconds=seconds,
        coords=sweep.coords(pairs.clean.shape[1]),
    )


def _check(target: str, site: str, options: Options) -> None:
    one_of("target", target, TARGETS)
    if site not in SITES_OF_HEADS:
        raise ValueError(f"site={site!r} is no site of heads; known: {', '.join(SITES_OF_HEADS)}")
    if options.engine == "exact":
        raise ValueError("engine='exact' has no effect on a first-order estimate: leave it out")
    if options.max_tokens_per_batch is not None:
        raise ValueError(
            "max_tokens_per_batch= has no effect on a first-order estimate: batch_size bounds it"
        )


def _check_gradient(metric: Metric, kind: str) -> None:
    if metric.name == "accuracy":
        raise ValueError("accuracy has no gradient: attribute a smooth metric such as logit_diff")
    if metric.name == "kl" and kind != "denoise":
        raise ValueError(
            f"kl is at its minimum on the clean run, where target={kind!r} starts, so that every first-order "
            "effect would be 0: use target='denoise' or another metric"
        )


@contextmanager
def _measuring(model: nn.Module) -> Iterator[None]:
    """As `probing`, but where gradients can be switched on, and unseen by `GradientHeadImportance`."""
    with torch.inference_mode(False), probing(model), pause_listening():
        yield


def _fresh_copy(pairs: PromptPairs, device: torch.device) -> PromptPairs:
    """The pairs on a device, in tensors that autograd may keep even if inference mode made the first ones."""
    copies: dict[str, Any] = {}
    for field in fields(pairs):
        value = getattr(pairs, field.name)
        if isinstance(value, Tensor):
            copies[field.name] = value.clone()
    return replace(pairs, **copies).to(device)


@dataclass(frozen=True)
class _Attribution:
    """One attribution under way."""

    hooked: HookedGPT2
    pairs: PromptPairs
    sweep: Sweep
    kind: str

    def run(self, options: Options) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Estimates, clean metric and corrupted metric, batch by batch."""
        site, layers = self.sweep.site, self.sweep.layers
        source = None
        if self.kind in ABLATIONS:
            source = replacement(
                self.kind,
                self.pairs,
                site,
                layers,
                self._activations,
                seed=options.seed,
                batch_size=options.batch_size,
            )
        estimates, clean, corrupted = [], [], []
        for rows in torch.arange(len(self.pairs)).split(options.batch_size):
            if source is None:
                effect, on_clean, on_corrupted = self._patch(rows)
                corrupted.append(on_corrupted)
            else:
                effect, on_clean = self._ablate(rows, source)
            estimates.append(effect)
            clean.append(on_clean)
            if options.progress is not None:
                options.progress(int(rows[-1]) + 1, len(self.pairs))
        return estimates, clean, corrupted

    def _ablate(self, rows: Tensor, source: Replacement) -> tuple[Tensor, Tensor]:
        new = source.values(self.pairs, rows, self.sweep.site, self.sweep.layers, self._activations)
        return self._linearise(make_batch(self.pairs[rows], corrupted=False, clean_logits=None), new)

    def _patch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        some, denoise = self.pairs[rows], self.kind == "denoise"
        other = make_batch(some, corrupted=not denoise, clean_logits=None)
        names = [self.sweep.site.at(layer) for layer in self.sweep.layers]
        logits, cache = self.hooked.run_with_cache(other.ids, other.mask, [*names, *self._read_by_metric])
        clean_logits = other.at_answer(logits) if denoise else None
        other = replace(other, targets=replace(other.targets, clean_logits=clean_logits))
        on_other = self._measure(other, logits, cache)
        new = dict(zip(self.sweep.layers, (cache[name] for name in names), strict=True))
        effect, on_base = self._linearise(make_batch(some, corrupted=denoise, clean_logits=clean_logits), new)
        return (effect, on_other, on_base) if denoise else (effect, on_base, on_other)

    def _linearise(
        self, batch: Batch, new: Mapping[int, Tensor]
    ) -> tuple[Float[Tensor, "pair layer head *position"], Float[Tensor, " pair"]]:
        """The effects of replacing the site by `new`, and the metric as it is, by one forward and one backward."""
        site, shorts = self.sweep.site.name, ("z",) if self.sweep.site.name == "z" else ("q", "k", "v", "z")
        names = [act_name(short, layer) for short in shorts for layer in self.sweep.layers]
        measured, cache, gradients = self._with_gradients(batch, names)
        allowed = causal_mask(batch.ids, batch.mask)
        effects = []
        with torch.autocast(batch.ids.device.type, enabled=False):
            for layer in self.sweep.layers:
                attention = attentions(self.hooked.model)[layer]
                z = _wide(cache[act_name("z", layer)])
                q, k, v = (z if site == "z" else _wide(cache[act_name(short, layer)]) for short in "qkv")
                scaling, upcast = attention.scaling, attention.reorder_and_upcast_attn
                heads = HeadsOfLayer(scaling, upcast, q, k, v, z, gradients[layer].to(z), allowed)
                effect = estimate(heads, site, new[layer].to(z), self.sweep.by_position)
                effects.append(effect[:, list(self.sweep.units or ())])
        return torch.stack(effects, dim=1), measured

    def _with_gradients(
        self, batch: Batch, names: list[str]
    ) -> tuple[Tensor, Mapping[str, Tensor], dict[int, Tensor]]:
        """The metric per pair, activations, and the metric's gradient with respect to each layer's z."""
        leaves: dict[int, Tensor] = {}
        hooks = [(act_name("z", layer), _add_leaf(leaves, layer)) for layer in self.sweep.layers]
        wanted = [*names, *self._read_by_metric]
        with torch.enable_grad():
            logits, cache = self.hooked.run_with_cache(
                batch.ids, batch.mask, wanted, fwd_hooks=hooks, detach=False
            )
            measured = self._measure(batch, logits, cache)
            if not measured.requires_grad:
                raise ValueError(f"{self.sweep.metric.name} has no gradient with respect to any head's z")
            gradients = torch.autograd.grad(measured.sum(), list(leaves.values()), materialize_grads=True)
        kept = {name: value.detach() for name, value in cache.items()}
        return measured.detach(), kept, dict(zip(leaves, gradients, strict=True))

    def _measure(self, batch: Batch, logits: Tensor, cache: Mapping[str, Tensor]) -> Float[Tensor, " pair"]:
        return batch.read(self.sweep.metric, logits, cache)

    @property
    def _read_by_metric(self) -> list[str]:
        activation = self.sweep.metric.activation
        return [] if activation is None else [activation.name]

    def _activations(self, ids: Tensor, mask: Tensor, names: tuple[str, ...]) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(ids, mask, list(names))[1]


def _add_leaf(leaves: dict[int, Tensor], layer: int) -> HookFunction:
    """A hook that adds zeros whose gradient is that of the activation."""

    def function(value: Tensor, hook: HookPoint) -> Tensor:
        leaves[layer] = torch.zeros_like(value, requires_grad=True)
        return value + leaves[layer]

    return function


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()
