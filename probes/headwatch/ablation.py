"""Ablation: what a prediction loses when one part of the model is switched off."""

from collections.abc import Sequence

from torch import nn

from headwatch.effects import Effects
from headwatch.engine.pinned_heads import Head
from headwatch.engine.run_sweep import ask
from headwatch.interventions.sites import known_ablation
from headwatch.interventions.spec import Options, Progress
from headwatch.metrics import Metric
from headwatch.prompts.pairs import PromptPairs


def ablate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    kind: str = "mean",
    metric: str | Metric = "loss",
    *,
    given: Sequence[Head] = (),
    layers: Sequence[int] | None = None,
    by_position: bool = False,
    batch_size: int = 64,
    max_tokens_per_batch: int | None = None,
    precision: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effects:
    """The effect of ablating each head's z, on the clean prompts.

    A head whose ablation hurts has a positive loss effect and a negative logit-difference effect. Zero ablation
    overstates importance, since it also removes what a head always adds (Li & Janson 2024): `mean` is the default.

    Args: as for `ablate`, and
        given: heads, as (layer, head), that are ablated in all runs: effects are then those of ablating one head
            more, metric(given heads and this one ablated) − metric(given heads ablated). That shows backup heads,
            which step in where a head is missing (Wang et al. 2022) and which single ablations miss.

    Returns:
        Effects `[layer, head]`, or `[layer, head, position]`; 0 for the given heads themselves.

    Raises:
        ValueError: as for `ablate`, or a head that the model lacks.
    """
    options = Options(
        layers=layers,
        by_position=by_position,
        batch_size=batch_size,
        max_tokens_per_batch=max_tokens_per_batch,
        precision=precision,
        seed=seed,
        progress=progress,
        given=given,
    )
    return ask(model, pairs, "z", known_ablation(kind), metric, options)


def ablate_head_sets(
    model: nn.Module,
    pairs: PromptPairs,
    sets: Sequence[Sequence[Head]],
    kind: str = "mean",
    metric: str | Metric = "loss",
    *,
    batch_size: int = 64,
    max_tokens_per_batch: int | None = None,
    precision: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effects:
    """The effect of ablating each of some sets of heads, all heads of a set at once, on the clean prompts.

    Args: as for `ablate`, and
        sets: the sets, each of heads as (layer, head), in any layers: `[[(9, 6), (9, 9)], [(10, 0)]]`.

    Returns:
        Effects `[set]`.

    Raises:
        ValueError: as for `ablate`, no sets, an empty one, or a head that the model lacks.
    """
    options = Options(
        batch_size=batch_size,
        max_tokens_per_batch=max_tokens_per_batch,
        precision=precision,
        seed=seed,
        progress=progress,
        sets=sets,
    )
    return ask(model, pairs, "z", known_ablation(kind), metric, options)


def ablate(
    model: nn.Module,
    pairs: PromptPairs,
    site: str = "z",
    kind: str = "mean",
    metric: str | Metric = "loss",
    *,
    layers: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    by_position: bool = False,
    batch_size: int = 64,
    max_tokens_per_batch: int | None = None,
    precision: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effects:
    """The effect of ablating any site, on the clean prompts: metric(ablated) − metric(clean).

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs; only their clean prompts are run.
        site: `z`, `q`, `k`, `v`, `pattern` or `result` head by head; `attn_out`, `mlp_out`, `resid_pre`,
            `resid_mid` or `resid_post` as whole layers; `post` or `pre` neuron by neuron.
        kind: `zero`, `mean`, `position_mean` or `resample`.
        metric: a name or a `Metric`; see `headwatch.metrics`.
        layers: only these layers, in this order; None for all.
        neurons: only these neurons; None for all; only for `post` and `pre`.
        by_position: one position at a time rather than all at once; needs prompts of one length.
        batch_size: pairs whose plain runs are kept at once.
        max_tokens_per_batch: tokens of interventions that are under way at once, which bounds the memory; None for
            a default that suits the device. Running out of memory halves it, with a warning.
        precision: `bf16` for a quick screening in bfloat16, at an error of some per cent of the largest effect
            (docs/precision.md has figures); None for the model's own and its surroundings'.
        seed: for `resample`.
        progress: called with the pairs done and all pairs.

    Returns:
        Effects `[layer]`, `[layer, head]` or `[layer, neuron]`, with a last axis `position` if asked for.

    Raises:
        ValueError: a bad argument, pairs that don't fit the model, or prompts of several lengths where one is needed.
    """
    options = Options(
        layers, neurons, by_position, batch_size, max_tokens_per_batch, seed, progress, precision
    )
    return ask(model, pairs, site, known_ablation(kind), metric, options)
