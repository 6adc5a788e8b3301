"""Activation patching: what one run's activation does in the other run (Vig et al. 2020; Meng et al. 2022)."""

from typing import Literal, Unpack, overload

from torch import nn

from headwatch.effects import Effects
from headwatch.engine.run_sweep import run_sweep
from headwatch.interventions.arguments import heads
from headwatch.interventions.batch import Paths
from headwatch.interventions.options import Heads, SweepOptions, spell_out_options
from headwatch.interventions.sites import DIRECTIONS, Direction, SiteName
from headwatch.metrics import Metric, MetricList
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of

ReceiverInput = Literal["q", "k", "v"]
Mlps = Literal["recomputed", "frozen"]


@overload
def patch_activations(
    model: nn.Module,
    pairs: PromptPairs,
    site: SiteName = ...,
    *,
    direction: Direction = ...,
    metric: str | Metric | None = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def patch_activations(
    model: nn.Module,
    pairs: PromptPairs,
    site: SiteName = ...,
    *,
    direction: Direction = ...,
    metric: MetricList,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def patch_activations(
    model: nn.Module,
    pairs: PromptPairs,
    site: str = "z",
    *,
    direction: str = "denoise",
    metric: str | Metric | MetricList | None = None,
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """The effect of patching a site from the other prompt of the pair: metric(patched) − metric(not patched).

    Denoising (clean into corrupted) shows what suffices to restore the behaviour, noising (corrupted into clean)
    what is necessary for it (Heimersheim & Nanda 2024).

    Example:
        >>> patched = hw.patch_activations(model, pairs, site="z")
        >>> patched.normalized.shape                                       # [layer, head]; 0 as corrupted, 1 as clean
        torch.Size([12, 12])
        >>> where = hw.patch_activations(model, pairs, site="resid_pre", by_position=True)
        >>> where.dims
        ('layer', 'position')

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        site: `z`, `q`, `k`, `v`, `pattern` or `result` head by head; `resid_pre`, `resid_mid`, `resid_post`,
            `attn_out` or `mlp_out` as whole layers; `post` or `pre` neuron by neuron.
        direction: `denoise` runs the corrupted prompt with the clean activation, `noise` the other way round.
        metric: a name or a `Metric`, see `headwatch.metrics`; several in a list, at the cost of one; None for the
            pairs' own.
        **options: see `SweepOptions`.

    Returns:
        Effects `[layer]`, `[layer, head]` or `[layer, neuron]`, with a last axis `position` if asked for; also
        `normalized`, where 0 is as corrupted and 1 as clean. For several metrics a dict of them by the metric's name.

    Raises:
        ValueError: a bad argument, an option that has no effect here, pairs that don't fit the model, or prompts of
            several lengths where one is needed.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    return run_sweep(model, pairs, site, one_of("direction", direction, DIRECTIONS), metric, options)


@overload
def patch_paths(
    model: nn.Module,
    pairs: PromptPairs,
    receivers: Literal["logits"] | Heads = ...,
    *,
    receiver_input: ReceiverInput | None = ...,
    direction: Direction = ...,
    mlps: Mlps = ...,
    metric: str | Metric | None = ...,
    **options: Unpack[SweepOptions],
) -> Effects: ...


@overload
def patch_paths(
    model: nn.Module,
    pairs: PromptPairs,
    receivers: Literal["logits"] | Heads = ...,
    *,
    receiver_input: ReceiverInput | None = ...,
    direction: Direction = ...,
    mlps: Mlps = ...,
    metric: MetricList,
    **options: Unpack[SweepOptions],
) -> dict[str, Effects]: ...


@spell_out_options
def patch_paths(
    model: nn.Module,
    pairs: PromptPairs,
    receivers: object = "logits",
    *,
    receiver_input: str | None = None,
    direction: str = "noise",
    mlps: str = "recomputed",
    metric: str | Metric | MetricList | None = None,
    **options: Unpack[SweepOptions],
) -> Effects | dict[str, Effects]:
    """The effect of each head on some receivers alone: its z is patched, and only they see it (Wang et al. 2022).

    All other heads stay as they are without the patch, so that nothing passes through the attention of another
    head; from the receivers on everything is computed. With `receivers="logits"` that is a head's direct effect.

    Example:
        >>> direct = hw.patch_paths(model, pairs)                          # each head's own effect on the logits
        >>> feeders = hw.patch_paths(model, pairs, [(9, 6), (9, 9)], receiver_input="q")
        >>> feeders.mean.shape
        torch.Size([12, 12])

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        receivers: `logits`, or heads as (layer, head), which are patched together.
        receiver_input: what of the receiving heads sees the patch: `q`, `k` or `v`; None for the logits.
        direction: `noise` runs the clean prompt with the sender's corrupted z, `denoise` the other way round.
        mlps: whether the MLPs between sender and receiver see the patch: `recomputed` (Wang et al. 2022), or
            `frozen` for the path through the residual stream alone (Goldowsky-Dill et al. 2023).
        metric: a name or a `Metric`, see `headwatch.metrics`; several in a list, at the cost of one; None for the
            pairs' own.
        **options: see `SweepOptions`; `layers` and `heads` choose the senders.

    Returns:
        Effects of the senders `[layer, head]`; 0 from the last receiver's layer on. For several metrics a dict of them
        by the metric's name.

    Raises:
        ValueError: a bad argument, an option that has no effect here, a head that the model lacks, or pairs that don't
            fit the model.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    kind, paths = one_of("direction", direction, DIRECTIONS), _paths(receivers, receiver_input, mlps)
    return run_sweep(model, pairs, "z", kind, metric, options, paths=paths)


def _paths(receivers: object, receiver_input: object, mlps: str) -> Paths:
    """The open paths, or a sentence that says what is wrong with them."""
    one_of("mlps", mlps, ("recomputed", "frozen"))
    if isinstance(receivers, str):
        if receivers != "logits":
            raise ValueError(f"receivers={receivers!r}: give 'logits' or heads such as [(9, 6), (9, 9)]")
        if receiver_input is not None:
            raise ValueError(
                f"receiver_input={receiver_input!r} has no effect with receivers='logits': leave it out"
            )
        return Paths(None, "", mlps)
    if receiver_input not in ("q", "k", "v"):
        raise ValueError(
            f"receiver_input={receiver_input!r}: say what of the receiving heads sees the patch: 'q', 'k' or 'v'"
        )
    return Paths(heads("receivers", receivers, at_least_one=True), str(receiver_input), mlps)
