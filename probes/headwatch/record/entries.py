"""What a record holds: one frozen dataclass per kind of line, to JSON and back.

A line is one JSON object whose `type` names the dataclass. Arrays are flat lists beside their shape, rounded to
32-bit floats; what JSON has no word for (NaN, infinities) is null, and null is read as NaN.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from headwatch.cell_names import Coords
from headwatch.pictures.cell_map import CellMap, cell_map
from headwatch.record.coords import coords_from_json, coords_to_json
from headwatch.record.fields import Fields

Array = Float[np.ndarray, "*dims"]


@dataclass(frozen=True, eq=False)
class EffectEntry:
    """Effects of one probe pass; see `headwatch.effects.Effects` for signs and units.

    Attributes:
        step: the optimizer step of the pass.
        epoch: its epoch.
        probe: the question: `ablation`, `patching`, `gradients`, ...
        label: the series that the pass belongs to, unique within a run.
        site: the activation that was replaced.
        kind: what replaced it.
        metric: the metric's name.
        exact: False for a first-order estimate.
        dims: what the axes of `mean` are, such as `("layer", "head")`.
        coords: what the places on each axis are, such as `{"layer": (9, 10), "head": (0, 1, 2)}`.
        mean: effect averaged over pairs, `[*dims]`.
        stderr: its standard error, `[*dims]`, NaN where one pair was all there was.
        n: the number of pairs.
        baseline: the metric on the run that effects are measured from.
        clean: the metric on the clean prompts.
        corrupted: the metric on the corrupted prompts, None where they were not run.
        seconds: how long the pass took.
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

    @property
    def normalized(self) -> Array | None:
        """(metric − corrupted) / (clean − corrupted), `[*dims]`; None where that is undefined."""
        if self.corrupted is None or self.clean == self.corrupted:
            return None
        return (self.baseline + self.mean - self.corrupted) / (self.clean - self.corrupted)

    def cell_map(self) -> CellMap:
        """The effects on two axes, with intervals and marks, as pictures and tables show them."""
        return cell_map(self.mean, self.stderr, self.n, self.dims, self.coords)

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        line = {"type": "effects"} | vars(self) | {"shape": self.mean.shape}
        for name in ("baseline", "clean", "corrupted", "seconds"):
            line[name] = _number(line[name])
        line["coords"] = coords_to_json(self.coords)
        return line | {"mean": numbers(self.mean), "stderr": numbers(self.stderr)}

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
        texts = {name: line.text(name) for name in ("probe", "label", "site", "kind", "metric")}
        return cls(
            step=line.integer("step"),
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
        )


@dataclass(frozen=True, eq=False)
class ScoreEntry:
    """Per-head scores of one pass, such as induction or entropy.

    Attributes:
        step: the optimizer step.
        epoch: its epoch.
        label: the series that the scores belong to.
        scores: `[layer, head]` by name.
        seconds: how long the pass took.
    """

    step: int
    epoch: int
    label: str
    scores: Mapping[str, Float[np.ndarray, "layer head"]]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        shape = next(iter(self.scores.values())).shape if self.scores else (0, 0)
        scores = {name: numbers(values) for name, values in self.scores.items()}
        line = {"type": "scores"} | vars(self) | {"shape": shape, "scores": scores}
        return line | {"seconds": _number(self.seconds)}

    @classmethod
    def from_json(cls, line: Fields) -> "ScoreEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        shape = line.integers("shape")
        if len(shape) != 2:
            raise ValueError(f"'shape' of scores must be [layer, head], not {list(shape)}")
        values = line.nested("scores")
        scores = {name: values.array(name, shape) for name in values.keys}
        return cls(
            line.integer("step"), line.integer("epoch"), line.text("label"), scores, line.number("seconds")
        )


@dataclass(frozen=True)
class ScalarEntry:
    """Numbers of one step, such as the training loss.

    Attributes:
        step: the optimizer step.
        values: the numbers by name.
    """

    step: int
    values: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        values = {name: _number(value) for name, value in self.values.items()}
        return {"type": "scalars", "step": self.step, "values": values}

    @classmethod
    def from_json(cls, line: Fields) -> "ScalarEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        values = line.nested("values")
        return cls(line.integer("step"), {name: values.number(name) for name in values.keys})


@dataclass(frozen=True)
class AttentionEntry:
    """Where the attention maps of one step are, and the tokens that they are about.

    Attributes:
        step: the optimizer step.
        epoch: its epoch.
        label: the series that the maps belong to.
        file: the npz file inside the record's folder `attn`.
        tokens: the text of each prompt's tokens.
    """

    step: int
    epoch: int
    label: str
    file: str
    tokens: tuple[tuple[str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {"type": "patterns"} | vars(self)

    @classmethod
    def from_json(cls, line: Fields) -> "AttentionEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        file = line.text("file")
        if not re.fullmatch(r"\d+(-\d+)?\.npz", file):
            raise ValueError(f"'file' must be a plain npz name such as '100.npz', not {file!r}")
        return cls(
            line.integer("step"), line.integer("epoch"), line.text("label"), file, line.text_lists("tokens")
        )


@dataclass(frozen=True)
class PromptEntry:
    """The prompt pairs that a series of effects was measured on; the first few, for showing.

    Attributes:
        label: the series, or "" for every series that has no prompts of its own.
        clean: the text of each clean prompt's tokens.
        corrupted: the same for the corrupted prompts, as many tokens each.
        answer: the token id of each answer.
        foil: the token id of each foil.
        position: where the metric is read in each prompt.
        total: how many pairs were measured.
    """

    label: str
    clean: tuple[tuple[str, ...], ...]
    corrupted: tuple[tuple[str, ...], ...]
    answer: tuple[int, ...]
    foil: tuple[int, ...]
    position: tuple[int, ...]
    total: int

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {"type": "prompts"} | vars(self)

    @classmethod
    def from_json(cls, line: Fields) -> "PromptEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        clean, corrupted = line.text_lists("clean"), line.text_lists("corrupted")
        if [len(tokens) for tokens in clean] != [len(tokens) for tokens in corrupted]:
            raise ValueError("'clean' and 'corrupted' must have the same number of tokens pair by pair")
        return cls(
            label=line.text("label"),
            clean=clean,
            corrupted=corrupted,
            answer=line.integers("answer"),
            foil=line.integers("foil"),
            position=line.integers("position"),
            total=line.integer("total"),
        )


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint that passes were run on, and what tells its weights from others.

    Attributes:
        step: the optimizer step at which it was saved.
        name: the name of its file or folder.
        sha256: the hash of its weights, which checkpoints have in common when their weights are identical.
    """

    step: int
    name: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {"type": "checkpoint"} | vars(self)

    @classmethod
    def from_json(cls, line: Fields) -> "CheckpointEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        return cls(line.integer("step"), line.text("name"), line.text("sha256"))


@dataclass(frozen=True)
class Note:
    """Something that a reader of the record should know.

    Attributes:
        level: `info`, `warning` or `error`.
        message: one sentence.
    """

    level: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {"type": "note"} | vars(self)

    @classmethod
    def from_json(cls, line: Fields) -> "Note":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        return cls(line.text("level"), line.text("message"))


Entry = EffectEntry | ScoreEntry | ScalarEntry | AttentionEntry | PromptEntry | CheckpointEntry | Note
KINDS: Mapping[str, type[Entry]] = {
    "effects": EffectEntry,
    "scores": ScoreEntry,
    "scalars": ScalarEntry,
    "patterns": AttentionEntry,
    "prompts": PromptEntry,
    "checkpoint": CheckpointEntry,
    "note": Note,
}


def numbers(values: Array) -> list[float | None]:
    """A flat list in row-major order; floats in the fewest digits that give the same 32-bit float."""
    flat: Iterable[np.float32] = np.asarray(values, np.float32).ravel()
    return [float(str(value)) if np.isfinite(value) else None for value in flat]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
