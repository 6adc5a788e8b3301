"""Activation patching: what one run's activation does in the other run (Vig et al. 2020; Meng et al. 2022)."""

from collections.abc import Sequence

from torch import nn

from headwatch.effects import Effects
from headwatch.interventions import DIRECTIONS
from headwatch.metrics import Metric
from headwatch.pairs import PromptPairs
from headwatch.plan import Options, Progress
from headwatch.question import ask


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
        progress: called with the pairs done and all pairs.

    Returns:
        Effects `[layer]`, `[layer, head]` or `[layer, neuron]`, with a last axis `position` if asked for; also
        `normalized`, where 0 is as corrupted and 1 as clean.

    Raises:
        ValueError: a bad argument, pairs that don't fit the model, or prompts of several lengths where one is needed.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"unknown direction {direction!r}; known: {', '.join(DIRECTIONS)}")
    options = Options(layers, neurons, by_position, batch_size, max_tokens_per_batch, progress=progress)
    return ask(model, pairs, site, direction, metric, options)
