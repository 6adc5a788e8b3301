"""What an intervention did: effects per prompt pair, their mean, standard error and n.

`Effects` is what every question (`ablate_heads`, `patch_activations`, `attribute_heads`) answers with.
`HeadEffects` accumulates the same numbers batch by batch, and over ranks, as a torchmetrics `Metric`.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from headwatch.cell_names import Coords, Head, counted


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of many interventions: metric(intervened) − metric(not intervened), per pair and averaged.

    Attributes:
        per_pair: the effect of each intervention on each pair, `[pair, *dims]`, in the metric's unit.
        clean: the metric on each clean prompt, `[pair]`.
        corrupted: the metric on each corrupted prompt, `[pair]`; None where no corrupted run was made.
        dims: what the axes after `pair` are, such as `("layer", "head")` or `("layer", "position")`.
        site: the activation that was replaced, such as `z`.
        kind: what replaced it: `zero`, `mean`, `position_mean`, `resample`, `denoise` or `noise`.
        metric: the metric's name.
        exact: False for a first-order estimate.
        seconds: how long it took.
        given: the metric on each clean prompt with the given heads ablated, `[pair]`; None without such heads.
        coords: which layers, heads, neurons, positions or sets of heads the axes stand for, by name of the axis:
            `{"layer": (9, 10), "head": (0, 1, ..., 11)}`; without it, all from 0 on. A set is a tuple of heads.
        receivers: who alone sees the patch, in path patching: `logits`, or heads as (layer, head); else None.
        receiver_input: what of the receiving heads sees it: `q`, `k` or `v`; else None.

    Raises:
        ValueError: coordinates that don't fit the axes.
    """

    per_pair: Float[Tensor, "pair *dims"]
    clean: Float[Tensor, " pair"]
    corrupted: Float[Tensor, " pair"] | None
    dims: tuple[str, ...]
    site: str
    kind: str
    metric: str
    exact: bool = True
    seconds: float = 0.0
    given: Float[Tensor, " pair"] | None = None
    coords: Coords = field(default_factory=dict)
    receivers: str | tuple[Head, ...] | None = None
    receiver_input: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.per_pair.shape[1:])
        if not self.coords:
            object.__setattr__(self, "coords", counted(self.dims, shape))
        found = {dim: len(places) for dim, places in self.coords.items()}
        if tuple(found) != self.dims or tuple(found.values()) != shape:
            raise ValueError(f"coords of {found} don't fit effects {shape} of dims={self.dims}")

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.per_pair)

    @cached_property
    def mean(self) -> Float[Tensor, " *dims"]:
        """The effect averaged over pairs, `[*dims]`."""
        return self.per_pair.mean(0)

    @cached_property
    def stderr(self) -> Float[Tensor, " *dims"]:
        """The standard error of the mean, std(unbiased) / sqrt(n), `[*dims]`; NaN for a single pair."""
        if self.n == 1:
            return torch.full_like(self.mean, torch.nan)
        return self.per_pair.std(0) / self.n**0.5

    @property
    def not_intervened(self) -> Float[Tensor, " pair"]:
        """The metric per pair on the run that effects are measured from, `[pair]`."""
        if self.kind == "denoise":
            assert self.corrupted is not None
            return self.corrupted
        return self.clean if self.given is None else self.given

    @cached_property
    def baseline(self) -> float:
        """The metric, averaged over pairs, on the run that effects are measured from."""
        return self.not_intervened.mean().item()

    @cached_property
    def normalized(self) -> Float[Tensor, " *dims"]:
        """(metric − corrupted) / (clean − corrupted) of the averages: 0 = as corrupted, 1 = as clean.

        Raises:
            ValueError: no corrupted run was made, or clean and corrupted prompts score the same.
        """
        if self.corrupted is None:
            raise ValueError(
                f"normalized needs a corrupted run and kind={self.kind!r} makes none: use patch_activations"
            )
        corrupted = self.corrupted.mean()
        gap = self.clean.mean() - corrupted
        if gap == 0:
            raise ValueError(
                f"normalized is undefined: {self.metric} is {corrupted.item():.4g} on clean and corrupted alike"
            )
        return (self.baseline + self.mean - corrupted) / gap

    def to(self, device: torch.device | str) -> "Effects":
        """The same effects on another device."""
        corrupted, given = (
            None if part is None else part.to(device) for part in (self.corrupted, self.given)
        )
        per_pair, clean = self.per_pair.to(device), self.clean.to(device)
        return replace(self, per_pair=per_pair, clean=clean, corrupted=corrupted, given=given)


class HeadEffects(Metric):
    """Mean, standard error and n of effects, accumulated over batches and ranks.

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
