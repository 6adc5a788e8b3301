"""What a record keeps of a pass's effects: their line, and the values of every pair."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.effects import Effects
from headwatch.prompts.fingerprint import fingerprints
from headwatch.prompts.pairs import PromptPairs
from headwatch.record.effect_entry import EffectEntry
from headwatch.record.per_pair import PerPair


def entry_of(
    effects: Effects, *, step: int, epoch: int, probe: str, label: str, seconds: float
) -> EffectEntry:
    """The line of a pass; arguments as in `EffectEntry`."""
    return EffectEntry(
        step=step,
        epoch=epoch,
        probe=probe,
        label=label,
        site=effects.site,
        kind=effects.kind,
        metric=effects.metric,
        exact=effects.exact,
        dims=effects.dims,
        coords=effects.coords,
        mean=array(effects.mean),
        stderr=array(effects.stderr),
        n=effects.n,
        baseline=effects.baseline,
        clean=effects.clean.mean().item(),
        corrupted=None if effects.corrupted is None else effects.corrupted.mean().item(),
        seconds=seconds,
    )


def per_pair_of(effects: Effects, pairs: PromptPairs) -> PerPair:
    """The effect on every pair.

    Raises:
        ValueError: effects on another number of pairs.
    """
    if len(pairs) != effects.n:
        raise ValueError(f"effects on {effects.n} pairs came with {len(pairs)} pairs: give those they are of")
    return PerPair(array(effects.per_pair), None, fingerprints(pairs))


def array(values: Tensor) -> Float[np.ndarray, "..."]:
    """A tensor in float32 on the CPU."""
    return values.detach().to("cpu", torch.float32).numpy()
