"""What a record keeps of a pass's effects: their line, and the values of every pair."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.effects import Effects
from headwatch.effects.estimated import EstimatedEffects
from headwatch.effects.measured import MeasuredCells
from headwatch.prompts.fingerprint import fingerprints
from headwatch.prompts.pairs import PromptPairs
from headwatch.record.effect_entry import EffectEntry
from headwatch.record.per_pair import PerPair


def entry_of(
    effects: MeasuredCells, *, step: int, epoch: int, probe: str, label: str, seconds: float
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
        **_of_estimate(effects),
    )


def _of_estimate(effects: MeasuredCells) -> dict[str, Any]:
    """What only estimated effects have."""
    if not isinstance(effects, EstimatedEffects):
        return {}
    return {
        "degrees_of_freedom": array(effects.degrees_of_freedom),
        "n_exact": effects.n_exact.cpu().numpy(),
        "cost": effects.cost,
        "covariate": "+".join(effects.covariate_names),
        "covariate_r2": array(effects.covariate_r2),
        "suspect": effects.suspect.cpu().numpy(),
    }


def per_pair_of(effects: MeasuredCells, pairs: PromptPairs) -> PerPair:
    """The effect on every pair.

    Raises:
        ValueError: effects on another number of pairs.
    """
    if len(pairs) != effects.n:
        raise ValueError(f"effects on {effects.n} pairs came with {len(pairs)} pairs: give those they are of")
    known = fingerprints(pairs)
    if isinstance(effects, EstimatedEffects):
        return PerPair(array(effects.exact_values), array(effects.covariate), known)
    assert isinstance(effects, Effects)
    return PerPair(array(effects.per_pair), None, known)


def array(values: Tensor) -> Float[np.ndarray, "..."]:
    """A tensor in float32 on the CPU."""
    return values.detach().to("cpu", torch.float32).numpy()
