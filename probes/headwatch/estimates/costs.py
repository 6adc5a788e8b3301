"""What runs cost, in forward-equivalents: multiply-adds of one forward of one prompt, unembedded at the answer."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headwatch.model.architecture import Sizes


@dataclass(frozen=True, eq=False)
class Costs:
    """The cost of one pair's runs, in forward-equivalents.

    Attributes:
        exact: one head replaced at all positions that change, by its layer, `[layer]`.
        last: one head replaced at the answer position alone, by its layer.
        base: the runs that nothing is changed in.
        values: the run that gives what an ablation writes; 0 where there is none.
        first_order: one forward and one backward, unembedded everywhere.
    """

    exact: Float[np.ndarray, " layer"]
    last: Float[np.ndarray, " layer"]
    base: float
    values: float
    first_order: float


def costs_of(sizes: Sizes, length: int, changed: int, *, patching: bool, means: bool) -> Costs:
    """The costs on a model, for prompts of so many tokens.

    Args:
        sizes: the model's.
        length: tokens that are read.
        changed: of those, how many an intervention changes.
        patching: whether the corrupted prompts are run too.
        means: whether all clean prompts are run for their means.
    """
    attention = 2 * sizes.d_model * sizes.d_head * (sizes.n_heads + sizes.n_kv_heads)
    keys = 2 * sizes.d_model * sizes.d_head * sizes.n_kv_heads
    mlp = 2 * sizes.d_model * sizes.d_mlp
    block, last_layer = attention + mlp, attention - keys + mlp
    logits = sizes.d_model * sizes.d_vocab
    forward = (sizes.n_layers - 1) * length * block + length * keys + last_layer
    everywhere = length * (sizes.n_layers * block + logits)

    def intervened(positions: int) -> Float[np.ndarray, " layer"]:
        between = np.arange(sizes.n_layers - 1)[::-1]
        below_last = positions * (mlp + between * block + keys) + last_layer
        return np.append(below_last, mlp) / forward

    return Costs(
        exact=intervened(changed),
        last=intervened(1),
        base=2.0 if patching else 1.0,
        values=everywhere / forward if means else 0.0,
        first_order=2 * everywhere / forward + (everywhere / forward if patching else 0.0),
    )
