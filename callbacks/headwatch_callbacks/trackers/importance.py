"""From a pass to one number a head: which heads matter most, and over how many the importance is spread."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headwatch.effects import Effects
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.pictures import Z_95, excludes_zero

TABLE_COLUMNS = (
    "label",
    "rank",
    "unit",
    "row",
    "column",
    "value",
    "stderr",
    "low",
    "high",
    "n",
    "significant",
)
MOST_COLUMNS = 2048  # a wider map (single neurons) is left to the record
_LETTERS = {"layer": "L", "head": "H", "position": "P", "neuron": "N"}


@dataclass(frozen=True)
class HeadMap:
    """One number a head (or another unit) of one pass.

    Attributes:
        name: what the numbers are, within a result: empty for its effects, else the score's name.
        values: `[row, column]`.
        stderr: their standard errors, same shape; None for scores.
        n: how many pairs they are averages of; None for scores.
        rows: what a row is, such as `layer`.
        columns: what a column is, such as `head`.
        note: what was left out on the way to two axes; empty if nothing.
    """

    name: str
    values: Float[np.ndarray, "row column"]
    stderr: Float[np.ndarray, "row column"] | None
    n: int | None
    rows: str
    columns: str
    note: str = ""

    def unit(self, row: int, column: int) -> str:
        """The short name of a cell, such as `L9H6`."""
        axes = ((self.rows, row), (self.columns, column))
        return "".join(f"{_LETTERS.get(axis, axis)}{place}" for axis, place in axes if axis)

    def ranked(self) -> list[tuple[int, int]]:
        """The cells with a finite value, the largest magnitude first."""
        magnitude = np.where(np.isfinite(self.values), np.abs(self.values), -1.0)
        order = np.argsort(-magnitude, axis=None, kind="stable")[: int((magnitude >= 0).sum())]
        return [divmod(int(place), self.values.shape[1]) for place in order]


def head_maps(result: ProbeResult) -> list[HeadMap]:
    """The maps of one pass: its effects if they fit two axes, then every score."""
    maps: list[HeadMap | None] = []
    if result.effects is not None:
        maps.append(_effect_map(result.effects))
    maps += [
        HeadMap(name, _numpy(score), None, None, "layer", "head") for name, score in result.scores.items()
    ]
    return [each for each in maps if each is not None]


def _effect_map(effects: Effects) -> HeadMap | None:
    return map_of(_numpy(effects.mean), _numpy(effects.stderr), effects.dims, effects.n)


def map_of(
    mean: Float[np.ndarray, "*dims"], stderr: Float[np.ndarray, "*dims"], dims: tuple[str, ...], n: int
) -> HeadMap | None:
    """Effects on two axes: a third one, such as the position, is shown where the effect is largest.

    Args:
        mean: effects, `[*dims]`.
        stderr: their standard errors, same shape.
        dims: what the axes are.
        n: how many pairs they are averages of.

    Returns:
        the map; None where it would have more than 2,048 columns.
    """
    note = ""
    if len(dims) == 1:
        mean, stderr, dims = mean[:, None], stderr[:, None], (dims[0], "")
    if len(dims) == 3:
        strongest = np.nan_to_num(np.abs(mean), nan=-1.0).argmax(-1)[..., None]
        mean, stderr = (np.take_along_axis(values, strongest, -1)[..., 0] for values in (mean, stderr))
        note = f"each {dims[1]} at its strongest {dims[2]}"
    if mean.ndim != 2 or mean.shape[1] > MOST_COLUMNS:
        return None
    return HeadMap("", mean, stderr, n, dims[0], dims[1], note)


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def entropy(values: Float[np.ndarray, "*shape"]) -> float:
    """How evenly importance is spread, in nats: the entropy of each magnitude's share of their sum.

    0 when one head does everything or none does anything, log(number of heads) when all do the same.
    Its exponential is the effective number of heads.
    """
    magnitude = np.abs(values[np.isfinite(values)]).astype(np.float64)
    magnitude = magnitude[magnitude > 0]
    share = magnitude / magnitude.sum() if magnitude.size else magnitude
    return float(max(0.0, -(share * np.log(share)).sum()))


def effective_heads(values: Float[np.ndarray, "*shape"]) -> float:
    """The number of equally important heads with the same entropy, exp(entropy); 0 when nothing has an effect."""
    return float(np.exp(entropy(values))) if np.any(np.nan_to_num(values)) else 0.0


def measures_importance(result: ProbeResult) -> bool:
    """Whether a pass says how much heads matter, rather than what they attend to."""
    return result.effects is not None or result.probe == "gradients"


def table_rows(result: ProbeResult) -> Iterator[list[object]]:
    """One row a head and map of one pass, in the order of `TABLE_COLUMNS`, strongest first."""
    for each in head_maps(result):
        label = f"{result.label}/{each.name}" if each.name else result.label
        marked = excludes_zero(each.values, each.stderr)
        for rank, (row, column) in enumerate(each.ranked(), start=1):
            value = float(each.values[row, column])
            error = None if each.stderr is None else _finite(each.stderr[row, column])
            low, high = (None, None) if error is None else (value - Z_95 * error, value + Z_95 * error)
            found = None if error is None else bool(marked[row, column])
            yield [label, rank, each.unit(row, column), row, column, value, error, low, high, each.n, found]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
