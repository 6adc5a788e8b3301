"""Ablation: what a prediction loses when one part of the model is switched off."""

from collections.abc import Sequence
from typing import Unpack, overload

from torch import nn

from headwatch.cell_names import Head
from headwatch.effects import Effects
from headwatch.engine.run_sweep import run_sweep
from headwatch.interventions.options import SweepOptions, spell_out_options
from headwatch.interventions.sites import ABLATIONS, AblationKind, SiteName
from headwatch.metrics import Metric, MetricList
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of


@overload
def ablate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: AblationKind = ...,
    metric: str | Metric | None = ...,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def ablate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: AblationKind = ...,
    metric: MetricList,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def ablate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: str = "mean",
    metric: str | Metric | MetricList | None = None,
    reference: PromptPairs | None = None,
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """The effect of ablating each head's z, on the clean prompts: metric(ablated) − metric(clean).

    A head whose ablation hurts has a positive loss effect and a negative logit-difference effect. Zero ablation
    overstates importance, since it also removes what a head always adds (Li & Janson 2024): `mean` is the default.

    Example:
        >>> effects = hw.ablate_heads(model, pairs, kind="mean", metric="loss")
        >>> effects.mean.shape                                             # [layer, head], in nats
        torch.Size([12, 12])
        >>> backup = hw.ablate_heads(model, pairs, given=[(9, 6), (9, 9)])  # one more head where these are gone

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs; only their clean prompts are run.
        kind: what z becomes: `zero`, `mean`, `position_mean` or `resample`.
        metric: a name or a `Metric`, see `headwatch.metrics`; several in a list, at the cost of one; None for the
            pairs' own.
        reference: the prompts whose clean runs give the means, or what is resampled; None for the pairs' own. Where
            the pairs have something in common that heads act on, their mean holds it: Wang et al. (2022) take other
            prompts of the same form.
        **options: see `SweepOptions`.

    Returns:
        Effects `[layer, head]`, with a last axis `position` if asked for; for several metrics a dict of them by the
        metric's name. 0 for the given heads themselves.

    Raises:
        ValueError: a bad argument, an option that has no effect here, pairs that don't fit the model, or prompts of
            several lengths where one is needed.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    return run_sweep(model, pairs, "z", one_of("kind", kind, ABLATIONS), metric, options, reference=reference)


@overload
def ablate_head_sets(
    model: nn.Module,
    pairs: PromptPairs,
    sets: Sequence[Sequence[Head]],
    *,
    kind: AblationKind = ...,
    metric: str | Metric | None = ...,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def ablate_head_sets(
    model: nn.Module,
    pairs: PromptPairs,
    sets: Sequence[Sequence[Head]],
    *,
    kind: AblationKind = ...,
    metric: MetricList,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def ablate_head_sets(
    model: nn.Module,
    pairs: PromptPairs,
    sets: Sequence[object],
    *,
    kind: str = "mean",
    metric: str | Metric | MetricList | None = None,
    reference: PromptPairs | None = None,
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """The effect of ablating each of some sets of heads, all heads of a set at once, on the clean prompts.

    Example:
        >>> joint = hw.ablate_head_sets(model, pairs, [[(9, 6), (9, 9)], [(10, 0)]])
        >>> joint.mean.shape                                               # [set]
        torch.Size([2])

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs; only their clean prompts are run.
        sets: the sets, each of heads as (layer, head), in any layers.
        kind: what z becomes: `zero`, `mean`, `position_mean` or `resample`.
        metric: a name or a `Metric`, see `headwatch.metrics`; several in a list, at the cost of one; None for the
            pairs' own.
        reference: the prompts whose clean runs give the means, or what is resampled; None for the pairs' own. Where
            the pairs have something in common that heads act on, their mean holds it: Wang et al. (2022) take other
            prompts of the same form.
        **options: see `SweepOptions`.

    Returns:
        Effects `[set]`; for several metrics a dict of them by the metric's name.

    Raises:
        ValueError: as for `ablate_heads`; no sets, an empty one, or a head that the model lacks.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    return run_sweep(
        model, pairs, "z", one_of("kind", kind, ABLATIONS), metric, options, sets=sets, reference=reference
    )


@overload
def ablate(
    model: nn.Module,
    pairs: PromptPairs,
    site: SiteName = ...,
    *,
    kind: AblationKind = ...,
    metric: str | Metric | None = ...,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def ablate(
    model: nn.Module,
    pairs: PromptPairs,
    site: SiteName = ...,
    *,
    kind: AblationKind = ...,
    metric: MetricList,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def ablate(
    model: nn.Module,
    pairs: PromptPairs,
    site: str = "z",
    *,
    kind: str = "mean",
    metric: str | Metric | MetricList | None = None,
    reference: PromptPairs | None = None,
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """The effect of ablating any site, on the clean prompts: metric(ablated) − metric(clean).

    Example:
        >>> hw.ablate(model, pairs, "mlp_out").mean.shape                  # [layer]
        torch.Size([12])
        >>> hw.ablate(model, pairs, "post", layers=9, neurons=range(100)).mean.shape
        torch.Size([1, 100])

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs; only their clean prompts are run.
        site: `z`, `q`, `k`, `v`, `pattern` or `result` head by head; `attn_out`, `mlp_out`, `resid_pre`,
            `resid_mid` or `resid_post` as whole layers; `post` or `pre` neuron by neuron.
        kind: what the site becomes: `zero`, `mean`, `position_mean` or `resample`.
        metric: a name or a `Metric`, see `headwatch.metrics`; several in a list, at the cost of one; None for the
            pairs' own.
        reference: the prompts whose clean runs give the means, or what is resampled; None for the pairs' own. Where
            the pairs have something in common that heads act on, their mean holds it: Wang et al. (2022) take other
            prompts of the same form.
        **options: see `SweepOptions`.

    Returns:
        Effects `[layer]`, `[layer, head]` or `[layer, neuron]`, with a last axis `position` if asked for; for several
        metrics a dict of them by the metric's name.

    Raises:
        ValueError: a bad argument, an option that has no effect here, pairs that don't fit the model, or prompts of
            several lengths where one is needed.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    return run_sweep(
        model, pairs, site, one_of("kind", kind, ABLATIONS), metric, options, reference=reference
    )
