"""What runs cost on GPT-2 small's shape, for heads of a smaller model: there exact runs are dear and covariates cheap.

On the small models of this benchmark a sweep is a few forwards, so that first order alone costs a third of it. What an
estimate costs depends on that, and on how many exact runs the heads need; the second is measured on the small models,
the first taken from the larger shape. A layer stands for those of the larger model at its height.
"""

from dataclasses import replace

import numpy as np

from benchmarks.estimates.prompts import LENGTH
from headwatch.estimates.costs import Costs, costs_of
from headwatch.interventions.sites import DIRECTIONS
from headwatch.model.architecture import Sizes

GPT2_SMALL = Sizes(
    n_layers=12, n_heads=12, n_kv_heads=12, d_head=64, d_model=768, d_mlp=3072, n_positions=1024, d_vocab=50257
)  # fmt: skip


def gpt2_small_costs(n_layers: int, n_heads: int, kind: str, changed: int = LENGTH) -> Costs:
    """The costs of a pair's runs on GPT-2 small's shape, spread over the heads of a smaller model.

    Args:
        n_layers: of the smaller model.
        n_heads: of each of its layers.
        kind: what replaces the heads.
        changed: how many of the `LENGTH` positions differ, under patching.
    """
    patching = kind in DIRECTIONS
    whole = costs_of(
        GPT2_SMALL,
        LENGTH,
        changed if patching else LENGTH,
        plain_runs=2 if patching else 1,
        means=kind in ("mean", "position_mean"),
    )
    return replace(
        whole, exact=_spread(whole.exact, n_layers, n_heads), last=_spread(whole.last, n_layers, n_heads)
    )


def _spread(of_large: np.ndarray, n_layers: int, n_heads: int) -> np.ndarray:
    """One head's cost in each layer of a smaller model, whose heads together cost what those of the large one do."""
    heights = (np.arange(12 * n_layers) + 0.5) / (12 * n_layers)
    at_heights = of_large[(heights * len(of_large)).astype(int)]
    return (
        at_heights.reshape(n_layers, -1).mean(1) * len(of_large) * GPT2_SMALL.n_heads / (n_layers * n_heads)
    )
