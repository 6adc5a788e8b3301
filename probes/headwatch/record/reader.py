"""Read a run's record, whole or as it grows: 1,000 passes over 144 heads take about 50 ms.

A reader never waits for a writer: a last line without its end is a pass being written, and is left for later.
A line that cannot be understood costs that line, not the record; `Record.problems` says which and why.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from headwatch.record.description import Description, read_description
from headwatch.record.entries import (
    AttentionEntry,
    CheckpointEntry,
    EffectEntry,
    Entry,
    Note,
    PromptEntry,
    ScalarEntry,
    ScoreEntry,
)
from headwatch.record.lines import parse
from headwatch.record.npz import Wanted, read_npz
from headwatch.record.packing import unpack

Sizes = TypeVar("Sizes")


@dataclass(frozen=True, eq=False)
class Series:
    """One number over training: `steps` (ascending) and `values`, of one length."""

    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, " step"]


@dataclass(frozen=True, eq=False)
class AttentionFrame:
    """Attention maps of one step.

    Attributes:
        maps: for each prompt `[layer, head, query, key]`, to within 0.002.
        tokens: the text of each prompt's tokens.
    """

    maps: tuple[Float[np.ndarray, "layer head _ _"], ...]  # prompts differ in length
    tokens: tuple[tuple[str, ...], ...]


class Tail:
    """The lines of a record, each given once, as they are appended.

    Args:
        directory: the record's directory.

    Attributes:
        unreadable: how many lines so far could not be understood.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "probes.jsonl"
        self._offset = 0
        self._line = 0
        self.unreadable = 0
        self._unknown_keys: set[tuple[str, str]] = set()

    def poll(self) -> tuple[list[Entry], list[str]]:
        """What was appended since the last call: the entries, and a sentence for each line that is none."""
        entries: list[Entry] = []
        problems: list[str] = []
        for line in self._new_lines():
            self._line += 1
            try:
                if line.strip():
                    entry, unknown = parse(line)
                    entries.append(entry)
                    problems += self._say_once(type(entry).__name__, unknown)
            except ValueError as problem:
                self.unreadable += 1
                problems.append(f"{self._file} line {self._line}: {problem}")
        return entries, problems

    def _say_once(self, kind: str, keys: tuple[str, ...]) -> list[str]:
        fresh = [key for key in keys if (kind, key) not in self._unknown_keys]
        self._unknown_keys |= {(kind, key) for key in fresh}
        where = f"{self._file} line {self._line}"
        return [f"{where}: the key {key!r} is not known and was left out" for key in fresh]

    def _new_lines(self) -> list[bytes]:
        if not self._file.exists():
            return []
        with self._file.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.split(b"\n")[:-1]


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """What a run left on disk. Of two passes of one series at one step, the later one counts.

    Example:
        >>> record = hw.Record.read("headwatch_runs/my-run")
        >>> record.name
        'my-run'
        >>> entry = record.effects[-1]
        >>> entry.mean.shape                                               # [layer, head]
        (12, 12)

    Attributes:
        directory: where it is.
        name: the run's name.
        model: the model's sizes by name.
        effects: passes that measured effects, by step.
        scores: passes that measured per-head scores, by step.
        frames: where attention maps are, by step.
        prompts: prompt pairs by the label of their series; "" serves every series without its own.
        scalars: single numbers over training, by name.
        checkpoints: saved checkpoints that passes were run on, by step and name.
        notes: what the writers noted.
        problems: a sentence for each line that could not be understood, and for each key that was left out.
        unreadable: how many lines could not be understood.
    """

    directory: Path
    name: str
    model: Mapping[str, int]
    effects: tuple[EffectEntry, ...]
    scores: tuple[ScoreEntry, ...]
    frames: tuple[AttentionEntry, ...]
    prompts: Mapping[str, PromptEntry]
    scalars: Mapping[str, Series]
    checkpoints: tuple[CheckpointEntry, ...]
    notes: tuple[Note, ...]
    problems: tuple[str, ...]
    unreadable: int = 0

    def __repr__(self) -> str:
        passes = self.probes
        many = "1 pass" if len(passes) == 1 else f"{len(passes)} passes"
        last = f" up to step {passes[-1].step}" if passes else ""
        return f"Record({self.name!r} in {self.directory}, {many}{last})"

    @classmethod
    def read(cls, directory: Path | str) -> "Record":
        """Read the record in a directory.

        Raises:
            FileNotFoundError: there is no record.
            ValueError: its `run.json` is damaged, or of a format that this headwatch is too old for.
        """
        directory = Path(directory)
        described = read_description(directory)
        tail = Tail(directory)
        entries, problems = tail.poll()
        return cls.of(directory, described, entries, problems, tail.unreadable)

    @classmethod
    def of(
        cls,
        directory: Path,
        described: Description,
        entries: Iterable[Entry],
        problems: Iterable[str],
        unreadable: int = 0,
    ) -> "Record":
        """A record of the given entries, in the order in which they were written."""
        effects: dict[tuple[int, str], EffectEntry] = {}
        scores: dict[tuple[int, str], ScoreEntry] = {}
        frames: dict[tuple[int, str], AttentionEntry] = {}
        prompts: dict[str, PromptEntry] = {}
        scalars: list[ScalarEntry] = []
        checkpoints: dict[tuple[int, str], CheckpointEntry] = {}
        notes: list[Note] = []
        for entry in entries:
            match entry:
                case EffectEntry():
                    effects[entry.step, entry.label] = entry
                case ScoreEntry():
                    scores[entry.step, entry.label] = entry
                case AttentionEntry():
                    frames[entry.step, entry.label] = entry
                case PromptEntry():
                    prompts[entry.label] = entry
                case ScalarEntry():
                    scalars.append(entry)
                case CheckpointEntry():
                    checkpoints[entry.step, entry.name] = entry
                case Note():
                    notes.append(entry)
        return cls(
            directory=directory,
            name=described.name,
            model=described.model,
            effects=tuple(effects[key] for key in sorted(effects)),
            scores=tuple(scores[key] for key in sorted(scores)),
            frames=tuple(frames[key] for key in sorted(frames)),
            prompts=prompts,
            scalars=_series(scalars),
            checkpoints=tuple(checkpoints[key] for key in sorted(checkpoints)),
            notes=tuple(notes),
            problems=tuple(problems),
            unreadable=unreadable,
        )

    @property
    def probes(self) -> list[EffectEntry | ScoreEntry]:
        """All passes that measured something per head, by step."""
        return sorted([*self.effects, *self.scores], key=lambda entry: entry.step)

    def sizes_as(self, kind: type[Sizes]) -> Sizes:
        """The model's sizes as a dataclass; sizes that it has no field for are left out.

        Records of 0.1 lack `n_kv_heads`, of which their models had one a head.

        Raises:
            ValueError: the record lacks one of its sizes.
        """
        known = {"n_kv_heads": self.model.get("n_heads"), **self.model}
        missing = [field.name for field in fields(kind) if known.get(field.name) is None]  # type: ignore[arg-type]
        if missing:
            raise ValueError(
                f"{self.directory} does not say its model's {missing[0]}: it has {list(self.model)}"
            )
        return kind(**{field.name: known[field.name] for field in fields(kind)})  # type: ignore[arg-type]

    def patterns(self, step: int, label: str | None = None) -> AttentionFrame:
        """The attention maps of one step.

        Args:
            step: the step.
            label: the series; None where the step has one only.

        Raises:
            KeyError: there are no maps of that step and series.
            ValueError: there are several series and no label, or the file is damaged.
        """
        found = [entry for entry in self.frames if entry.step == step and label in (None, entry.label)]
        if not found:
            steps = sorted({entry.step for entry in self.frames})
            raise KeyError(f"no attention maps of step {step} and series {label!r}: there are steps {steps}")
        if len(found) > 1:
            raise ValueError(f"step {step} has several series, name one: {[entry.label for entry in found]}")
        return read_frame(self.directory, found[0], self.model)


def read_packed(directory: Path, entry: AttentionEntry, model: Mapping[str, int]) -> list[np.ndarray]:
    """The packed maps of each prompt of a frame, `[layer, head, packed]`; see `packing`.

    Args:
        directory: the record's directory.
        entry: the frame.
        model: the model's sizes by name, which bound those of the maps.

    Raises:
        ValueError: the file is missing or damaged, or holds other maps than the model has.
    """
    heads = (model.get("n_layers"), model.get("n_heads"))
    sizes = [len(tokens) * (len(tokens) + 1) // 2 for tokens in entry.tokens]
    wanted = {f"prompt{i}": Wanted(np.uint8, (*heads, size)) for i, size in enumerate(sizes)}
    return list(read_npz(directory / "attn" / entry.file, wanted).values())


def read_frame(directory: Path, entry: AttentionEntry, model: Mapping[str, int]) -> AttentionFrame:
    """The attention maps of a frame; arguments and errors as of `read_packed`."""
    return AttentionFrame(tuple(unpack(maps) for maps in read_packed(directory, entry, model)), entry.tokens)


def _series(entries: list[ScalarEntry]) -> Mapping[str, Series]:
    points: dict[str, dict[int, float]] = {}
    for entry in entries:
        for name, value in entry.values.items():
            points.setdefault(name, {})[entry.step] = value
    return {name: _sorted_series(values) for name, values in points.items()}


def _sorted_series(values: dict[int, float]) -> Series:
    steps = sorted(values)
    return Series(np.array(steps, np.int64), np.array([values[step] for step in steps], np.float64))
