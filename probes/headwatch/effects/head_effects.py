"""Mean and standard error of effects that come batch by batch, and over ranks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric


class HeadEffects(Metric):
    """Mean, standard error and n of effects, accumulated over batches and ranks.

    Example:
        >>> effects = hw.HeadEffects(shape=(12, 12))
        >>> effects.update(torch.full((8, 12, 12), 0.5))                   # [pair, layer, head], batch by batch
        >>> result = effects.compute()
        >>> result["mean"][9, 6].item(), result["n"].item()
        (0.5, 8)

    The states are sums and counts (`dist_reduce_fx="sum"`), kept in float64, so that merging ranks is exact.

    Args:
        shape: the shape of one pair's effects, such as `(layers, heads)`.
    """

    full_state_update = False
    higher_is_better = None
    total: Tensor
    total_square: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        zeros = torch.zeros(self.shape, dtype=torch.float64)
        self.add_state("total", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("total_square", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, per_pair: Float[Tensor, "pair *dims"]) -> None:
        """Add the effects of some pairs, `[pair, *shape]`.

        Raises:
            ValueError: another shape than the one this metric was made for.
        """
        if tuple(per_pair.shape[1:]) != self.shape:
            raise ValueError(f"effects of shape {tuple(per_pair.shape)}, expected [pair, {self.shape}]")
        values = per_pair.detach().to(self.total)
        self.total += values.sum(0)
        self.total_square += values.square().sum(0)
        self.count += len(values)

    def compute(self) -> dict[str, Float[Tensor, "..."] | Int[Tensor, ""]]:
        """`mean` and `stderr` of the shape given at the start, and `n`; stderr is NaN below two pairs."""
        n = self.count
        mean = self.total / n
        spread = (self.total_square - n * mean.square()).clamp(min=0)
        variance = spread / (n - 1) if n > 1 else torch.full_like(spread, torch.nan)
        return {"mean": mean.float(), "stderr": (variance / n).sqrt().float(), "n": n}
