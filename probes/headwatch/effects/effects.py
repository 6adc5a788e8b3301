"""`Effects`: what every question (`ablate_heads`, `patch_activations`, `attribute_heads`) answers with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headwatch.cell_names import Coords, Head, Place, cell_name, counted, how_many, place_name
from headwatch.effects import file as effects_file
from headwatch.pictures.cell_map import CellMap, cell_map, ranked
from headwatch.statistics.intervals import interval, p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg
from headwatch.statistics.ratio import fieller_interval

_PATCHING = ("denoise", "noise")  # the kinds that patch; all others ablate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Effects:
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
        if self.given is not None:
            return self.given
        if self.kind == "denoise":
            assert self.corrupted is not None
            return self.corrupted
        return self.clean

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
        corrupted = self._of_corrupted_run().mean()
        gap = self.clean.mean() - corrupted
        if gap == 0:
            raise ValueError(
                f"normalized is undefined: {self.metric} is {corrupted.item():.4g} on clean and corrupted alike"
            )
        return (self.baseline + self.mean - corrupted) / gap

    @property
    def degrees_of_freedom(self) -> int:
        """Of `stderr`: n − 1."""
        return self.n - 1

    def interval(self, level: float = 0.95) -> tuple[Float[Tensor, " *dims"], Float[Tensor, " *dims"]]:
        """The lower and the upper end of each effect's interval, `[*dims]` both; NaN for a single pair.

        Args:
            level: the share of such intervals that hold the true effect, the mean over all pairs like these.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        return self._like(*interval(_array(self.mean), _array(self.stderr), self.degrees_of_freedom, level))

    def p_values(self) -> Float[Tensor, " *dims"]:
        """The probability of an effect at least as far from 0 if there is none, each cell alone, in float64.

        NaN for a single pair, 1 where every pair's effect is 0.
        """
        found = p_values(_array(self.mean), _array(self.stderr), self.degrees_of_freedom)
        return torch.from_numpy(np.asarray(found)).to(self.mean.device)

    def significant(self, q: float = 0.05) -> Bool[Tensor, " *dims"]:
        """Which effects are there, by Benjamini and Hochberg's procedure (1995) over all cells.

        Args:
            q: the false discovery rate: the share of false ones among those that are marked, on average.

        Raises:
            ValueError: a q that is not between 0 and 1.
        """
        marked = benjamini_hochberg(self.p_values().cpu().numpy(), q)
        return torch.from_numpy(np.asarray(marked)).to(self.mean.device)

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
        gap = _array(self.clean) - _array(corrupted)
        start = _array(self.not_intervened) - _array(corrupted)
        restored = start.reshape(-1, *[1] * len(self.dims)) + _array(self.per_pair)
        return self._like(*fieller_interval(restored, gap, level))

    def top(self, k: int = 10) -> list[Any]:
        """The k places with the largest effects of either sign, the largest first; NaN is left out.

        Heads come as (layer, head), which `given=` takes; other places of several axes as a tuple of the places in
        the order of `dims`, such as (layer, head, position); layers as numbers, which `layers=` takes; sets of heads
        as tuples of heads, which `ablate_head_sets` takes.

        Raises:
            ValueError: a k below 1.
        """
        if k < 1:
            raise ValueError(f"k={k}: give 1 or more")
        places = [self._places(index) for index in ranked(_array(self.mean))[:k]]
        return [place[0] for place in places] if len(self.dims) == 1 else places

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a cell: a column for each of `dims`, then mean, stderr, low, high (95 %), p, significant.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_dataframe needs pandas: pip install 'headwatch[dataframe]'"
            ) from error
        places = [self._places(index) for index in np.ndindex(*self.mean.shape)]
        table: dict[str, Any] = {dim: [place[i] for place in places] for i, dim in enumerate(self.dims)}
        low, high = self.interval()
        columns = {"mean": self.mean, "stderr": self.stderr, "low": low, "high": high, "p": self.p_values()}
        for name, values in (columns | {"significant": self.significant()}).items():
            table[name] = values.cpu().numpy().ravel()
        return pd.DataFrame(table)

    def cell_map(self) -> CellMap:
        """The effects on two axes, as pictures show them: by position, each head at its strongest one."""
        return self._cells

    @cached_property
    def _cells(self) -> CellMap:
        return cell_map(_array(self.mean), _array(self.stderr), self.n, self.dims, self.coords)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the effects with matplotlib, a cell a head; significant ones are marked.

        Args:
            ax: where to draw; None for a new figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        from headwatch.pictures.heat_map import draw

        return draw(self.cell_map(), title=self.title, unit=f"effect on {self.metric}", ax=ax)

    def save(self, file: str | Path) -> None:
        """Write everything to one file, to be read by `load`: arrays and JSON, no pickle."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        effects_file.write(file, values)

    @classmethod
    def load(cls, file: str | Path) -> "Effects":
        """Read what `save` wrote, bit by bit the same; its tensors are on the CPU.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is damaged, holds something else, or is of a newer headwatch.
        """
        return effects_file.read(file, cls)

    def to(self, device: torch.device | str) -> "Effects":
        """The same effects on another device."""
        moved: Mapping[str, Any] = {
            each.name: value.to(device)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), Tensor)
        }
        return replace(self, **moved)

    @property
    def title(self) -> str:
        """What was asked, in a few words, such as `z, mean ablation, 64 pairs`."""
        asked = f"{self.site}, {self.kind} {'patching' if self.kind in _PATCHING else 'ablation'}"
        if self.receivers is not None:
            asked += f" of paths to {self._receivers}"
        estimate = "" if self.exact else ", first-order"
        return f"{asked}{estimate}, {how_many(self.n, 'pair')}"

    def __repr__(self) -> str:
        sizes = " × ".join(how_many(len(places), dim) for dim, places in self.coords.items())
        return f"Effects({self.title} on {self.metric}, {sizes}; {self._strongest()})"

    def _repr_html_(self) -> str:
        from headwatch.pictures.svg_map import svg_map

        return svg_map(self.cell_map(), title=self.title, unit=f"effect on {self.metric}")

    def _strongest(self) -> str:
        """The cell with the largest effect and its interval, in words."""
        found = next(iter(ranked(_array(self.mean))), None)
        if found is None:
            return "no finite effect"
        low, high = (end[found].item() for end in self.interval())
        ends = "no interval from one pair" if self.n == 1 else f"95 % interval {low:+.3g} to {high:+.3g}"
        name = cell_name(self.dims, self._places(found))
        return f"strongest {name} {self.mean[found].item():+.3g}, {ends}"

    @property
    def _receivers(self) -> str:
        """Who alone sees a patch, in words: `logits`, or `q of L9H6+L9H9`."""
        if self.receivers is None or isinstance(self.receivers, str):
            return self.receivers or ""
        return f"{self.receiver_input} of {place_name('set', self.receivers)}"

    def _places(self, index: tuple[int, ...]) -> tuple[Place, ...]:
        """The layer, head and so on that an index into `mean` stands for."""
        return tuple(self.coords[dim][at] for dim, at in zip(self.dims, index, strict=True))

    def _like(self, *arrays: np.ndarray) -> tuple[Any, ...]:
        """Arrays as tensors like the mean."""
        return tuple(torch.from_numpy(np.asarray(array)).to(self.mean) for array in arrays)

    def _of_corrupted_run(self) -> Float[Tensor, " pair"]:
        if self.corrupted is None:
            raise ValueError(
                f"normalized needs a corrupted run and kind={self.kind!r} makes none: use patch_activations"
            )
        return self.corrupted


def _array(values: Tensor) -> np.ndarray:
    """A tensor as an array in float64."""
    return values.detach().double().cpu().numpy()
