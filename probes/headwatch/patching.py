"""Activation patching: what one run's activation does in the other run (Vig et al. 2020; Meng et al. 2022)."""

from collections.abc import Sequence

from torch import nn

from headwatch.effects import Effects
from headwatch.engine.pinned_heads import Head
from headwatch.engine.run_sweep import ask
from headwatch.interventions.batch import Paths
from headwatch.interventions.sites import known_direction
from headwatch.interventions.spec import Options, Progress
from headwatch.metrics import Metric
from headwatch.prompts.pairs import PromptPairs


def patch_activations(
    model: nn.Module,
    pairs: PromptPairs,
    site: str = "z",
    direction: str = "denoise",
    by_position: bool = False,
    metric: str | Metric = "logit_diff",
    *,
    layers: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    batch_size: int = 64,
    max_tokens_per_batch: int | None = None,
    precision: str | None = None,
    progress: Progress | None = None,
) -> Effects:
    """The effect of patching a site from the other prompt of the pair.

    Denoising (clean into corrupted) shows what suffices to restore the behaviour, noising (corrupted into clean)
    what is necessary for it (Heimersheim & Nanda 2024).

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        site: `z`, `q`, `k`, `v`, `pattern` or `result` head by head; `resid_pre`, `resid_mid`, `resid_post`,
            `attn_out` or `mlp_out` as whole layers; `post` or `pre` neuron by neuron.
        direction: `denoise` runs the corrupted prompt with the clean activation, `noise` the other way round.
        by_position: one position at a time rather than all at once; needs prompts of one length.
        metric: a name or a `Metric`; see `headwatch.metrics`.
        layers: only these layers, in this order; None for all.
        neurons: only these neurons; None for all; only for `post` and `pre`.
        batch_size: pairs whose plain runs are kept at once.
        max_tokens_per_batch: tokens of interventions that are under way at once, which bounds the memory; None for
            a default that suits the device. Running out of memory halves it, with a warning.
        precision: `bf16` for a quick screening in bfloat16, at an error of some per cent of the largest effect
            (docs/precision.md has figures); None for the model's own and its surroundings'.
        progress: called with the pairs done and all pairs.

    Returns:
        Effects `[layer]`, `[layer, head]` or `[layer, neuron]`, with a last axis `position` if asked for; also
        `normalized`, where 0 is as corrupted and 1 as clean.

    Raises:
        ValueError: a bad argument, pairs that don't fit the model, or prompts of several lengths where one is needed.
    """
    options = Options(
        layers,
        neurons,
        by_position,
        batch_size,
        max_tokens_per_batch,
        progress=progress,
        precision=precision,
    )
    return ask(model, pairs, site, known_direction(direction), metric, options)


def patch_paths(
    model: nn.Module,
    pairs: PromptPairs,
    receivers: str | Sequence[Head] = "logits",
    into: str | None = None,
    direction: str = "noise",
    metric: str | Metric = "logit_diff",
    *,
    mlps: str = "recomputed",
    layers: Sequence[int] | None = None,
    batch_size: int = 64,
    max_tokens_per_batch: int | None = None,
    precision: str | None = None,
    progress: Progress | None = None,
) -> Effects:
    """The effect of each head on some receivers alone: its z is patched, and only they see it (Wang et al. 2022).

    All other heads stay as they are without the patch, so that nothing passes through the attention of another
    head; from the receivers on everything is computed. With `receivers="logits"` that is a head's direct effect.

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        receivers: `logits`, or heads as (layer, head), which are patched together: `[(9, 6), (9, 9)]`.
        into: what of the receiving heads sees the patch: `q`, `k` or `v`; None for the logits.
        direction: `noise` runs the clean prompt with the sender's corrupted z, `denoise` the other way round.
        metric: a name or a `Metric`; see `headwatch.metrics`.
        mlps: whether the MLPs between sender and receiver see the patch: `recomputed` (Wang et al. 2022), or
            `frozen` for the path through the residual stream alone (Goldowsky-Dill et al. 2023).
        layers: senders in these layers only, in this order; None for all.
        batch_size: pairs whose plain runs are kept at once.
        max_tokens_per_batch: as for `patch_activations`.
        precision: as for `patch_activations`.
        progress: called with the pairs done and all pairs.

    Returns:
        Effects of the senders `[layer, head]`; 0 from the last receiver's layer on.

    Raises:
        ValueError: a bad argument, a head that the model lacks, or pairs that don't fit the model.
    """
    paths = _paths(receivers, into, mlps)
    options = Options(
        layers=layers,
        batch_size=batch_size,
        max_tokens_per_batch=max_tokens_per_batch,
        precision=precision,
        progress=progress,
        paths=paths,
    )
    return ask(model, pairs, "z", known_direction(direction), metric, options)


def _paths(receivers: str | Sequence[Head], into: str | None, mlps: str) -> Paths:
    """The open paths, or a sentence that says what is wrong with them."""
    if mlps not in ("recomputed", "frozen"):
        raise ValueError(f"unknown mlps={mlps!r}; known: recomputed, frozen")
    if isinstance(receivers, str):
        if receivers != "logits":
            raise ValueError(f"receivers={receivers!r}: give 'logits' or heads such as [(9, 6), (9, 9)]")
        if into is not None:
            raise ValueError(f"into={into!r} has no effect with receivers='logits': leave it out")
        return Paths(None, "", mlps)
    if into not in ("q", "k", "v"):
        raise ValueError(f"into={into!r}: say what of the receiving heads sees the patch: 'q', 'k' or 'v'")
    return Paths(tuple(receivers), into, mlps)
