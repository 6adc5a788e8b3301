"""Attribution: every head's effect to first order, for the cost of two forwards and one backward.

One forward with gradients gives ∂metric/∂z for all heads and pairs at once (attribution patching; Nanda 2023);
`first_order` makes effects of it. What is missed is the curvature of everything above a head: effects that are
large, or that layers above saturate or repair, need the exact sweep.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, Literal, Unpack, overload

import torch
from torch import Tensor, nn

from headwatch.attribution.first_order import SITES_OF_HEADS
from headwatch.attribution.linearise import Attribution, Estimates
from headwatch.cell_names import Coords
from headwatch.effects import Effects
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.arguments import check_pairs
from headwatch.interventions.batch import Sweep
from headwatch.interventions.options import Options, SweepOptions, in_precision, spell_out_options
from headwatch.interventions.sites import (
    ABLATIONS,
    DIRECTIONS,
    AblationKind,
    Direction,
)
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList
from headwatch.model.eval_mode import eval_mode
from headwatch.model.hooked_model import attach
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
    check_pairs(pairs)
    started, chosen = time.perf_counter(), Options.of(options)
    _check(target, site, chosen)
    with (
        attach(model) as hooked,
        _measuring(hooked.model),
        in_precision(chosen.precision, hooked.architecture.device),
    ):
        pairs.check(hooked.sizes)
        pairs = _fresh_copy(pairs, hooked.architecture.device)
        sweep = make_spec(hooked.architecture, pairs, site, target, metric, chosen)
        for one in sweep.metrics:
            _check_gradient(one, target)
        values = AblationValues.of(hooked, pairs, sweep, target, chosen)
        found = Attribution(hooked, pairs, sweep, target, values).run(chosen)
    seconds = time.perf_counter() - started
    coords = sweep.coords(pairs.clean.shape[1])
    effects = {
        one.name: _effects(sweep, one, target, seconds, found.of_metric(number), coords)
        for number, one in enumerate(sweep.metrics)
    }
    return effects if isinstance(metric, list | tuple) else effects[sweep.metric.name]


def _effects(
    sweep: Sweep, metric: Metric, kind: str, seconds: float, found: Estimates, coords: Coords
) -> Effects:
    return Effects(
        found.effects,
        found.clean,
        found.corrupted,
        sweep.dims,
        sweep.site.name,
        kind,
        metric.name,
        exact=False,
        seconds=seconds,
        given=found.given,
        coords=coords,
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
    """As `eval_mode`, but where gradients can be switched on, and unseen by `GradientHeadImportance`."""
    with torch.inference_mode(False), eval_mode(model), pause_listening():
        yield


def _fresh_copy(pairs: PromptPairs, device: torch.device) -> PromptPairs:
    """The pairs on a device, in tensors that autograd may keep even if inference mode made the first ones."""
    copies: dict[str, Any] = {}
    for field in fields(pairs):
        value = getattr(pairs, field.name)
        if isinstance(value, Tensor):
            copies[field.name] = value.clone()
    return replace(pairs, **copies).to(device)
