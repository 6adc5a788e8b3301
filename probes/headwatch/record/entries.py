"""What a record holds: one frozen dataclass per kind of line, to JSON and back; effects have a file of their own.

A line is one JSON object whose `type` names the dataclass. Arrays are flat lists beside their shape.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from headwatch.record.effect_entry import EffectEntry
from headwatch.record.fields import Fields
from headwatch.record.numbers import number, numbers


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
        return line | {"seconds": number(self.seconds)}

    @classmethod
    def from_json(cls, line: Fields) -> "ScoreEntry":
        """Read one JSON object; raises ValueError as `EffectEntry.from_json` does."""
        shape = line.integers("shape")
        if len(shape) != 2:
            raise ValueError(f"'shape' of scores must be [layer, head], not {list(shape)}")
        values = line.nested("scores")
        scores = {name: values.array(name, shape) for name in values.keys}
        return cls(
            line.step("step"), line.integer("epoch"), line.text("label"), scores, line.number("seconds")
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
        values = {name: number(value) for name, value in self.values.items()}
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
        step, epoch, file = line.step("step"), line.integer("epoch"), line.text("file")
        if not re.fullmatch(r"(untrained|\d+)(-\d+)?\.npz", file):
            raise ValueError(f"'file' must be a plain npz name such as '100.npz', not {file!r}")
        return cls(step, epoch, line.text("label"), file, line.text_lists("tokens"))


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
