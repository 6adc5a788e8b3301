"""A result on two axes, as pictures and tables show it: one cell a head, its interval, and whether it is marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from headwatch.cell_names import Coords, Place, cell_name, counted, place_name
from headwatch.statistics.intervals import Numbers, interval, p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg

Q = 0.05  # the false discovery rate at which pictures mark heads
SUSPECT = "▨ interval not to be trusted"  # what stripes in a picture mean
NO_NUMBER = "× no number"  # what a cross means
Values = Float[np.ndarray, "row column"]


@dataclass(frozen=True, eq=False)
class CellMap:
    """One number a cell, on two axes.

    Attributes:
        values: `[row, column]`.
        dims: what a row and a column is, such as `("layer", "head")`; `("layer",)` for a single column.
        coords: which layers and heads they are.
        name: what the numbers are where a result has several, such as `induction`; else empty.
        note: what was left out on the way to two axes; empty if nothing.
        n: how many pairs the values are averages of; None for scores.
        stderr: standard errors, `[row, column]`; None for scores and a single pair, as all that follows.
        low: the lower ends of 95 % intervals.
        high: their upper ends.
        significant: which cells are significant at a false discovery rate of 5 % over all cells.
        n_tested: how many cells that rate is over.
        suspect: which cells' intervals are not to be trusted; None where nothing was checked.
    """

    values: Values
    dims: tuple[str, ...]
    coords: Coords
    name: str = ""
    note: str = ""
    n: int | None = None
    stderr: Values | None = None
    low: Values | None = None
    high: Values | None = None
    significant: Bool[np.ndarray, "row column"] | None = None
    n_tested: int = 0
    suspect: Bool[np.ndarray, "row column"] | None = None

    def places(self, row: int, column: int) -> tuple[Place, ...]:
        """The layer and head (or other places) of a cell."""
        return tuple(self.coords[dim][at] for dim, at in zip(self.dims, (row, column), strict=False))

    def cell_name(self, row: int, column: int) -> str:
        """The short name of a cell, such as `L9H6`."""
        return cell_name(self.dims, self.places(row, column))

    def margin(self, row: int, column: int) -> float:
        """Half the width of a cell's 95 % interval; NaN where it has none."""
        return np.nan if self.high is None else float(self.high[row, column] - self.values[row, column])

    def marked(self, row: int, column: int) -> bool:
        """Whether a cell is significant; False where that can't be said."""
        return self.significant is not None and bool(self.significant[row, column])

    def is_suspect(self, row: int, column: int) -> bool:
        """Whether a cell's interval is not to be trusted; False where nothing was checked."""
        return self.suspect is not None and bool(self.suspect[row, column])

    def labels(self, axis: int) -> list[str]:
        """What stands at each row (axis 0) or column (axis 1): the bare numbers, and the names of sets."""
        if axis >= len(self.dims):
            return [""]
        dim = self.dims[axis]
        return [
            str(place) if isinstance(place, int) else place_name(dim, place) for place in self.coords[dim]
        ]

    def ranked(self) -> list[tuple[int, int]]:
        """Row and column of the cells with a finite value, the largest magnitude first."""
        return [(row, column) for row, column in ranked(self.values)]

    @property
    def no_number(self) -> Bool[np.ndarray, "row column"]:
        """Which cells are not finite, as in a model that has diverged."""
        return ~np.isfinite(self.values)

    @property
    def marks(self) -> str:
        """What a mark in the picture of this map means."""
        per_cent = f"{Q:.0%}".replace("%", " %")
        return f"false discovery rate {per_cent} over {self.n_tested} cells (Benjamini-Hochberg)"


def ranked(values: Num[np.ndarray, "*dims"]) -> list[tuple[int, ...]]:
    """The indices of all finite values, the largest magnitude first and equal ones in order."""
    magnitude = np.where(np.isfinite(values), np.abs(values), -1.0)
    order = np.argsort(-magnitude, axis=None, kind="stable")[: int((magnitude >= 0).sum())]
    return [tuple(index) for index in np.stack(np.unravel_index(order, values.shape), -1).tolist()]


def cell_map(
    mean: Num[np.ndarray, "*dims"],
    stderr: Num[np.ndarray, "*dims"],
    n: int,
    dims: Sequence[str],
    coords: Coords,
    *,
    degrees_of_freedom: Numbers | None = None,
    suspect: Bool[np.ndarray, "*dims"] | None = None,
) -> CellMap:
    """Effects on two axes: a third one, such as the position, is shown where the effect is largest.

    Args:
        mean: effects averaged over pairs, `[*dims]`, of one to three axes.
        stderr: their standard errors, same shape.
        n: how many pairs they are averages of.
        dims: what the axes are.
        coords: which places they stand for.
        degrees_of_freedom: of the standard errors, one number or `[*dims]`; None for n − 1.
        suspect: where the interval is not to be trusted, `[*dims]`; None where nothing was checked.
    """
    freedom = n - 1 if degrees_of_freedom is None else degrees_of_freedom
    p, ends = p_values(mean, stderr, freedom), interval(mean, stderr, freedom)
    # Marks are made over all cells, before one position stands for a head.
    parts = [mean, stderr, *ends, benjamini_hochberg(p, Q), *([] if suspect is None else [suspect])]
    values, error, low, high, marked, *doubtful = (_on_two_axes(part, mean) for part in parts)
    shown = tuple(dims[:2])
    note = f"each {dims[1]} at its strongest {dims[2]}" if len(dims) == 3 else ""
    plain = CellMap(values, shown, {dim: coords[dim] for dim in shown}, "", note, n)
    if n == 1:
        return plain
    tested = int((~np.isnan(p)).sum())
    tests = replace(plain, stderr=error, low=low, high=high, significant=marked, n_tested=tested)
    return replace(tests, suspect=doubtful[0]) if doubtful else tests


def _on_two_axes(part: Shaped[np.ndarray, "*dims"], mean: Num[np.ndarray, "*dims"]) -> Any:
    """What belongs to the values that are shown: a single axis as a column, of a third one where it is strongest."""
    if mean.ndim == 1:
        return part[:, None]
    if mean.ndim == 2:
        return part
    strongest = np.nan_to_num(np.abs(mean), nan=-1.0).argmax(-1)[..., None]
    return np.take_along_axis(part, strongest, -1)[..., 0]


def score_map(values: Values, name: str = "") -> CellMap:
    """One number a head, `[layer, head]`, as a map without intervals."""
    dims = ("layer", "head")
    return CellMap(values, dims, counted(dims, values.shape), name)
