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
        base: the runs that nothing else is changed in, and those that give what is written.
        values: the run that gives the means that an ablation writes; 0 where there are none.
        first_order: forwards of the model's own in place of those of `base`, and one backward.
    """

    exact: Float[np.ndarray, " layer"]
    last: Float[np.ndarray, " layer"]
    base: float
    values: float
    first_order: float


def costs_of(
    sizes: Sizes,
    length: int,
    changed: int,
    *,
    plain_runs: int = 1,
    from_others: bool = False,
    means: bool = False,
    everywhere: bool = False,
    by_hooks: bool = False,
    one_answer: bool = True,
) -> Costs:
    """The costs on a model, for prompts of so many tokens.

    Args:
        sizes: the model's.
        length: tokens that are read.
        changed: of those, how many an intervention changes.
        plain_runs: the runs of a pair without an intervention: clean, corrupted, with the given heads replaced.
        from_others: whether another prompt is run for what is written.
        means: whether all clean prompts are run for their means.
        everywhere: whether logits are read at all positions.
        by_hooks: whether every intervention is a forward of the model's own.
        one_answer: whether all answers are read at one position, where alone attribution unembeds.
    """
    attention = 2 * sizes.d_model * sizes.d_head * (sizes.n_heads + sizes.n_kv_heads)
    keys = 2 * sizes.d_model * sizes.d_head * sizes.n_kv_heads
    mlp = 2 * sizes.d_model * sizes.d_mlp
    block, last_layer = attention + mlp, attention - keys + mlp
    logits = sizes.d_model * sizes.d_vocab
    forward = (sizes.n_layers - 1) * length * block + length * keys + last_layer
    blocks = length * sizes.n_layers * block
    whole, at_one = (blocks + length * logits) / forward, (blocks + logits) / forward
    above = np.arange(sizes.n_layers)[::-1]

    def intervened(positions: int) -> Float[np.ndarray, " layer"]:
        if by_hooks:
            return np.full(sizes.n_layers, whole)
        if everywhere:
            return positions * (mlp + above * block + logits) / forward
        below_last = positions * (mlp + (above[:-1] - 1) * block + keys) + last_layer
        return np.append(below_last, mlp) / forward

    plain = whole if everywhere or by_hooks else 1.0
    return Costs(
        exact=intervened(changed),
        last=intervened(1),
        base=plain_runs * plain + from_others * at_one,
        values=at_one if means else 0.0,
        first_order=(plain_runs + 1) * (at_one if one_answer else whole) + from_others * at_one,
    )
