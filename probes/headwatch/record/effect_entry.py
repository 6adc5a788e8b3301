"""The line of a record that holds the effects of one pass, to JSON and back.

What only some passes have (estimates with their own degrees of freedom, values of every pair) is left out of a line
that has none of it, and a line without it is read: records of an earlier headwatch have no such keys.
"""

import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from headwatch.cell_names import Coords
from headwatch.pictures.cell_map import CellMap, cell_map
from headwatch.record.coords import coords_from_json, coords_to_json
from headwatch.record.fields import Fields
from headwatch.record.numbers import number, numbers

Array = Float[np.ndarray, "*dims"]


@dataclass(frozen=True, eq=False)
class EffectEntry:
    """Effects of one probe pass; see `headwatch.effects.Effects` for signs and units.

    Attributes:
        step: the optimizer step of the pass; −1 for before training.
        epoch: its epoch.
        probe: the question: `ablation`, `patching`, `gradients`, ...
        label: the series that the pass belongs to, unique within a run.
        site: the activation that was replaced.
        kind: what replaced it.
        metric: the metric's name.
        exact: False for an estimate.
        dims: what the axes of `mean` are, such as `("layer", "head")`.
        coords: what the places on each axis are, such as `{"layer": (9, 10), "head": (0, 1, 2)}`.
        mean: effect averaged over pairs, `[*dims]`.
        stderr: its standard error, `[*dims]`, NaN where one pair was all there was.
        n: the number of pairs.
        baseline: the metric on the run that effects are measured from.
        clean: the metric on the clean prompts.
        corrupted: the metric on the corrupted prompts, None where they were not run.
        seconds: how long the pass took.
        degrees_of_freedom: of each standard error, `[*dims]`; None for n − 1.
        n_exact: how many pairs had an exact run, `[*dims]`; None where all had or none had: see `exact`.
        cost: the share of an exact sweep's cost, in forwards; None where it was not counted.
        covariate: what was known of every pair, by name, joined with `+`; None without one.
        covariate_r2: the share of the variance over pairs that it explains, `[*dims]`; None without one.
        suspect: where the interval is not to be trusted, `[*dims]`; None where nothing was checked.
        overhead: the share of the training time that passes had taken up to here; None where it was not counted.
        per_pair: the npz file inside the record's folder `per_pair` with the effect on every pair; None without one.
    """

    step: int
    epoch: int
    probe: str
    label: str
    site: str
    kind: str
    metric: str
    exact: bool
    dims: tuple[str, ...]
    coords: Coords
    mean: Array
    stderr: Array
    n: int
    baseline: float
    clean: float
    corrupted: float | None
    seconds: float
    degrees_of_freedom: Array | None = None
    n_exact: Int[np.ndarray, "*dims"] | None = None
    cost: float | None = None
    covariate: str | None = None
    covariate_r2: Array | None = None
    suspect: Bool[np.ndarray, "*dims"] | None = None
    overhead: float | None = None
    per_pair: str | None = None

    @property
    def normalized(self) -> Array | None:
        """(metric − corrupted) / (clean − corrupted), `[*dims]`; None where that is undefined."""
        if self.corrupted is None or self.clean == self.corrupted:
            return None
        return (self.baseline + self.mean - self.corrupted) / (self.clean - self.corrupted)

    @property
    def t_degrees_of_freedom(self) -> Array:
        """Of the Student's t behind intervals and p-values, `[*dims]`: those given, else n − 1."""
        if self.degrees_of_freedom is not None:
            return self.degrees_of_freedom
        return np.full(self.mean.shape, max(self.n - 1, 0), np.float32)

    def cell_map(self) -> CellMap:
        """The effects on two axes, with intervals and marks, as pictures and tables show them."""
        return cell_map(
            self.mean,
            self.stderr,
            self.n,
            self.dims,
            self.coords,
            degrees_of_freedom=self.t_degrees_of_freedom,
            suspect=self.suspect,
        )

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object, without what this pass hasn't got."""
        line = {"type": "effects"} | vars(self) | {"shape": self.mean.shape}
        for name in ("baseline", "clean", "corrupted", "seconds"):
            line[name] = number(line[name])
        line["coords"] = coords_to_json(self.coords)
        optional = {name: _plain(line.pop(name)) for name in _OPTIONAL}
        line |= {"mean": numbers(self.mean), "stderr": numbers(self.stderr)}
        return line | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, line: Fields) -> "EffectEntry":
        """Read one JSON object.

        Raises:
            ValueError: a key is missing or holds another type or shape than it should.
        """
        shape = line.integers("shape")
        dims = line.texts("dims")
        if len(dims) != len(shape):
            raise ValueError(f"'dims' names {len(dims)} axes and 'shape' has {len(shape)}")
        if not all(shape) or not shape:
            raise ValueError(f"'shape' must be one place or more on one axis or more, not {list(shape)}")
        texts: dict[str, Any] = {
            name: line.text(name) for name in ("probe", "label", "site", "kind", "metric")
        }
        return cls(
            step=line.step("step"),
            epoch=line.integer("epoch"),
            exact=line.flag("exact"),
            dims=dims,
            coords=coords_from_json(line, dims, shape),
            mean=line.array("mean", shape),
            stderr=line.array("stderr", shape),
            n=line.integer("n"),
            baseline=line.number("baseline"),
            clean=line.number("clean"),
            corrupted=None if line.is_null("corrupted") else line.number("corrupted"),
            seconds=line.number("seconds"),
            **texts,
            **_optional(line, shape),
        )


_OPTIONAL = tuple(field.name for field in fields(EffectEntry) if field.default is None)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if not isinstance(value, np.ndarray):
        return number(value) if isinstance(value, float) else value
    return numbers(value) if value.dtype.kind == "f" else value.ravel().tolist()


def _optional(line: Fields, shape: tuple[int, ...]) -> dict[str, Any]:
    """What only some passes have, by name; nothing for the others."""
    given = [name for name in _OPTIONAL if not line.is_null(name)]
    return {name: _read(line, name, shape) for name in given}


def _read(line: Fields, name: str, shape: tuple[int, ...]) -> Any:
    match name:
        case "degrees_of_freedom" | "covariate_r2":
            return line.array(name, shape)
        case "n_exact":
            return line.counts(name, shape)
        case "suspect":
            return line.flags(name, shape)
        case "covariate":
            return line.text(name)
        case "per_pair":
            return _file_name(line.text(name))
        case _:
            return line.number(name)


def _file_name(file: str) -> str:
    if not re.fullmatch(r"(untrained|\d+)(-\d+)?\.npz", file):
        raise ValueError(f"'per_pair' must be a plain npz name such as '100.npz', not {file!r}")
    return file
