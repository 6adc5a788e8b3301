"""What an estimate costs by arithmetic, as a share of the exact sweep on the same pairs.

A run is worth the multiply-adds that it needs at least (`benchmarks.bound`): one head's exact run in the first layer
is nearly a whole forward, one in the last next to nothing. So the price of few exact runs depends on where they are.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.bound import Shape, head_at, head_everywhere, layers_above
from benchmarks.estimates.prompts import LENGTH

GPT2_SMALL = Shape(n_layers=12, n_heads=12, d_model=768, d_mlp=3072, length=LENGTH)
ATTRIBUTION = 2.0  # forwards: one, and a backward to the activations alone, which is worth another


@dataclass(frozen=True)
class Cost:
    """What the parts of an estimate cost, as shares of the exact sweep on the same pairs.

    Attributes:
        attribution: first order, on all pairs.
        last: exact at the answer position, on all pairs.
        exact: the exact runs.
    """

    attribution: float
    last: float
    exact: float

    @property
    def whole(self) -> float:
        """All of it."""
        return self.attribution + self.last + self.exact


def cost(shape: Shape, share_exact: Tensor, first_change: int = 0) -> Cost:
    """What an estimate costs whose covariates are first order and exact at the answer.

    Args:
        shape: of the model and its prompts.
        share_exact: exact runs over pairs, `[layer, head]` of any model: a layer stands for those of the same height.
        first_change: the first position that differs under patching.
    """
    changed = shape.length - first_change
    runs = [head_everywhere(shape, layer, changed).flops for layer in range(shape.n_layers)]
    at_answer = [head_at(shape, layer, shape.length - 1).flops for layer in range(shape.n_layers)]
    sweep = shape.n_heads * sum(runs)
    by_layer = _at_heights(share_exact.double().mean(1), shape.n_layers)
    return Cost(
        attribution=ATTRIBUTION * layers_above(shape, -1, shape.length).flops / sweep,
        last=sum(at_answer) / sum(runs),
        exact=float((by_layer * torch.tensor(runs)).sum() / sum(runs)),
    )


def own_shape(share_exact: Tensor, d_model: int = 128) -> Shape:
    """The shape of one of this benchmark's models."""
    n_layers, n_heads = share_exact.shape
    return replace(GPT2_SMALL, n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_mlp=4 * d_model)


def _at_heights(by_layer: Tensor, n_layers: int) -> Tensor:
    """One number a layer for another number of layers: each takes that of the layer at its height."""
    heights = (torch.arange(n_layers) + 0.5) / n_layers * len(by_layer)
    return by_layer[heights.long()]
