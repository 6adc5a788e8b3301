"""`Effects`: what every question (`ablate_heads`, `patch_activations`, `attribute_heads`) answers with."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.cell_names import Coords, Head, counted, how_many, place_name
from headwatch.effects.measured import MeasuredCells, array_of
from headwatch.statistics.ratio import fieller_interval


@dataclass(frozen=True, eq=False, repr=False)
class Effects(MeasuredCells):
    """Effects of many interventions: metric(intervened) − metric(not intervened), per pair and averaged.

    Example:
        >>> effects = hw.ablate_heads(model, pairs)
        >>> low, high = effects.interval(0.95)                             # [layer, head] each
        >>> found = effects.significant(q=0.05)                            # true where the effect is there
        >>> more = hw.ablate_heads(model, pairs, given=effects.top(3))
        >>> axes = effects.plot()

    Intervals and p-values are those of Student's t with n − 1 degrees of freedom: each holds for its own head. With
    144 heads some leave out 0 by chance; `significant` allows for that. Two results are equal only if they are the
    same object; compare their tensors with `torch.equal`.

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
        given: the metric with the given heads replaced and nothing else, `[pair]`; None without such heads.
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

    suspect = None

    def __post_init__(self) -> None:
        shape = tuple(self.per_pair.shape[1:])
        if not self.coords:
            object.__setattr__(self, "coords", counted(self.dims, shape))
        found = {dim: len(places) for dim, places in self.coords.items()}
        if tuple(found) != self.dims or tuple(found.values()) != shape:
            raise ValueError(f"coords of {found} don't fit effects {shape} of dims={self.dims}")

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
    def degrees_of_freedom(self) -> int:
        """Of `stderr`: n − 1."""
        return self.n - 1

    def normalized_interval(
        self, level: float = 0.95
    ) -> tuple[Float[Tensor, " *dims"], Float[Tensor, " *dims"]]:
        """The interval of `normalized`, a ratio of two means over the same pairs, by Fieller's theorem (1954).

        Both ends are `[*dims]`; −∞ and ∞ where clean and corrupted prompts don't score significantly differently.

        Args:
            level: as for `interval`.

        Raises:
            ValueError: no corrupted run was made, or a level that is not between 0 and 1.
        """
        corrupted = self._of_corrupted_run()
        gap = array_of(self.clean) - array_of(corrupted)
        start = array_of(self.not_intervened) - array_of(corrupted)
        restored = start.reshape(-1, *[1] * len(self.dims)) + array_of(self.per_pair)
        return self._like(*fieller_interval(restored, gap, level))

    @property
    def title(self) -> str:
        """What was asked, in a few words, such as `z, mean ablation, 64 pairs`."""
        asked = self._asked
        if self.receivers is not None:
            asked += f" of paths to {self._receivers}"
        estimate = "" if self.exact else ", first-order"
        return f"{asked}{estimate}, {how_many(self.n, 'pair')}"

    @property
    def _receivers(self) -> str:
        """Who alone sees a patch, in words: `logits`, or `q of L9H6+L9H9`."""
        if self.receivers is None or isinstance(self.receivers, str):
            return self.receivers or ""
        return f"{self.receiver_input} of {place_name('set', self.receivers)}"
