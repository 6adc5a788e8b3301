"""What every result about many interventions has: means with errors, intervals, marks, pictures, a file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headwatch.cell_names import Coords, cell_name, how_many, places_at
from headwatch.data_frame import data_frame_of_cells
from headwatch.effects import file as effects_file
from headwatch.pictures.cell_map import CellMap, cell_map, ranked
from headwatch.statistics.intervals import interval, p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_PATCHING = ("denoise", "noise")  # the kinds that patch; all others ablate

Result = TypeVar("Result", bound="MeasuredCells")


class MeasuredCells(ABC):
    """Means over pairs, one a cell, with standard errors: what `Effects` and `EstimatedEffects` have in common.

    Attributes:
        clean: the metric on each clean prompt, `[pair]`.
        corrupted: the metric on each corrupted prompt, `[pair]`; None where no corrupted run was made.
        dims: what the axes of `mean` are.
        site: the activation that was replaced.
        kind: what replaced it.
        metric: the metric's name.
        exact: whether every pair's effect is exact.
        seconds: how long it took.
        given: the metric with the given heads replaced and nothing else, `[pair]`; None without such heads.
        coords: which places the axes stand for.
        suspect: whose interval is not to be trusted, `[*dims]`; None where that isn't known.
    """

    clean: Float[Tensor, " pair"]
    corrupted: Float[Tensor, " pair"] | None
    dims: tuple[str, ...]
    site: str
    kind: str
    metric: str
    exact: bool
    seconds: float
    given: Float[Tensor, " pair"] | None
    coords: Coords
    suspect: Bool[Tensor, " *dims"] | None

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, " *dims"]:
        """The effect averaged over pairs, `[*dims]`."""

    @property
    @abstractmethod
    def stderr(self) -> Float[Tensor, " *dims"]:
        """The standard error of the mean, `[*dims]`."""

    @property
    @abstractmethod
    def degrees_of_freedom(self) -> int | Float[Tensor, " *dims"]:
        """Of `stderr`: one number, or one a cell."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What was asked, in a few words."""

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.clean)

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

    def interval(self, level: float = 0.95) -> tuple[Float[Tensor, " *dims"], Float[Tensor, " *dims"]]:
        """The lower and the upper end of each effect's interval, `[*dims]` both; NaN for a single pair.

        Args:
            level: the share of such intervals that hold the true effect, the mean over all pairs like these.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        return self._like(*interval(array_of(self.mean), array_of(self.stderr), self._freedom, level))

    def p_values(self) -> Float[Tensor, " *dims"]:
        """The probability of an effect at least as far from 0 if there is none, each cell alone, in float64.

        NaN for a single pair, 1 where every pair's effect is 0.
        """
        found = p_values(array_of(self.mean), array_of(self.stderr), self._freedom)
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
        places = [places_at(self.coords, index) for index in ranked(array_of(self.mean))[:k]]
        return [place[0] for place in places] if len(self.dims) == 1 else places

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a cell: a column for each of `dims`, then mean, stderr, low, high (95 %), p, significant.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        low, high = self.interval()
        columns = {"mean": self.mean, "stderr": self.stderr, "low": low, "high": high, "p": self.p_values()}
        columns |= {"significant": self.significant()}
        return data_frame_of_cells(
            self.coords, {name: found.cpu().numpy() for name, found in columns.items()}
        )

    def cell_map(self) -> CellMap:
        """The effects on two axes, as pictures show them: by position, each head at its strongest one."""
        return self._cells

    @cached_property
    def _cells(self) -> CellMap:
        suspect = None if self.suspect is None else self.suspect.cpu().numpy()
        return cell_map(
            array_of(self.mean),
            array_of(self.stderr),
            self.n,
            self.dims,
            self.coords,
            degrees_of_freedom=self._freedom,
            suspect=suspect,
        )

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
        values = {each.name: getattr(self, each.name) for each in fields(cast(Any, self))}
        effects_file.write(file, values)

    @classmethod
    def load(cls: type[Result], file: str | Path) -> Result:
        """Read what `save` wrote, bit by bit the same; its tensors are on the CPU.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is damaged, holds something else, or is of a newer headwatch.
        """
        return effects_file.read(file, cls)

    def to(self: Result, device: torch.device | str) -> Result:
        """The same effects on another device."""
        moved: Mapping[str, Any] = {
            each.name: value.to(device)
            for each in fields(cast(Any, self))
            if isinstance(value := getattr(self, each.name), Tensor)
        }
        return replace(cast(Any, self), **moved)

    def __repr__(self) -> str:
        sizes = " × ".join(how_many(len(places), dim) for dim, places in self.coords.items())
        return f"{type(self).__name__}({self.title} on {self.metric}, {sizes}; {self._strongest()})"

    def _repr_html_(self) -> str:
        from headwatch.pictures.svg_map import svg_map

        return svg_map(self.cell_map(), title=self.title, unit=f"effect on {self.metric}")

    def _strongest(self) -> str:
        """The cell with the largest effect and its interval, in words."""
        found = next(iter(ranked(array_of(self.mean))), None)
        if found is None:
            return "no finite effect"
        low, high = (end[found].item() for end in self.interval())
        ends = "no interval from one pair" if self.n == 1 else f"95 % interval {low:+.3g} to {high:+.3g}"
        name = cell_name(self.dims, places_at(self.coords, found))
        return f"strongest {name} {self.mean[found].item():+.3g}, {ends}"

    @property
    def _asked(self) -> str:
        """The site and what replaced it, such as `z, mean ablation`."""
        return f"{self.site}, {self.kind} {'patching' if self.kind in _PATCHING else 'ablation'}"

    @property
    def _freedom(self) -> Any:
        """The degrees of freedom as what the statistics take."""
        freedom = self.degrees_of_freedom
        return array_of(freedom) if isinstance(freedom, Tensor) else freedom

    def _like(self, *arrays: np.ndarray) -> tuple[Any, ...]:
        """Arrays as tensors like the mean."""
        return tuple(torch.from_numpy(np.asarray(array)).to(self.mean) for array in arrays)

    def _of_corrupted_run(self) -> Float[Tensor, " pair"]:
        if self.corrupted is None:
            raise ValueError(
                f"normalized needs a corrupted run and kind={self.kind!r} makes none: use patch_activations"
            )
        return self.corrupted


def array_of(values: Tensor) -> np.ndarray:
    """A tensor as an array in float64."""
    return values.detach().double().cpu().numpy()
