"""Write a run's record while it trains: one line a pass, nothing lost when the run is killed.

Each line is one unbuffered write to the end of `probes.jsonl`, so any number of writers may share a record, on network
file systems too. Appending effects of 144 heads costs under a millisecond, with those of 64 pairs each about 5.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headwatch.effects.measured import MeasuredCells
from headwatch.prompts.pairs import PromptPairs
from headwatch.record.array_files import ArrayFiles
from headwatch.record.claim import Claim
from headwatch.record.description import put_back, write_description
from headwatch.record.entries import (
    AttentionEntry,
    CheckpointEntry,
    Entry,
    Note,
    PromptEntry,
    ScalarEntry,
    ScoreEntry,
)
from headwatch.record.from_effects import array, entry_of, per_pair_of
from headwatch.record.line_file import LineFile
from headwatch.record.lines import line_of
from headwatch.record.npz import check_bytes
from headwatch.record.owner import State
from headwatch.record.packing import pack
from headwatch.warn import warn_user

SHOWN_PAIRS = 64  # prompts kept for showing; effects are over all pairs


class RecordWriter:
    """Appends to the record in a directory, which is made where it is missing.

    Args:
        directory: the record's directory.
        name: the run's name, for people.
        model: the model's sizes by name, such as `{"n_layers": 12, "n_heads": 12}`.
        claim: the training's claim to the record, which is given up at the end; None to add to it beside others.

    Attributes:
        run: the run's identity, whatever its name and wherever its folder is.

    Raises:
        ValueError: the directory holds a record of a model with other sizes or of a newer format, or lines of which
            nothing says what they are.
    """

    def __init__(
        self, directory: Path | str, *, name: str, model: Mapping[str, int], claim: Claim | None = None
    ) -> None:
        self.directory, self._name, self._model, self._claim = Path(directory), name, dict(model), claim
        self.directory.mkdir(parents=True, exist_ok=True)
        self._description = write_description(self.directory, name, model)
        self.run = self._description.id
        self._lines = LineFile(self.directory / "probes.jsonl")
        self._arrays = ArrayFiles(self.directory)
        if claim is not None:
            self._arrays.sweep()

    def effects(
        self,
        step: int,
        epoch: int,
        probe: str,
        label: str,
        effects: MeasuredCells,
        seconds: float,
        *,
        pairs: PromptPairs | None = None,
        overhead: float | None = None,
    ) -> None:
        """Append the effects of one pass; arguments as in `EffectEntry`, and

        Args:
            pairs: the pairs that the effects are of, row by row. With them the effect on every pair is kept too, by
                which passes are compared, unless there are more than a million and the cells are not heads.

        Raises:
            ValueError: effects on another number of pairs.
        """
        entry = entry_of(effects, step=step, epoch=epoch, probe=probe, label=label, seconds=seconds)
        entry = replace(entry, overhead=overhead)
        values = None if pairs is None else per_pair_of(effects, pairs)
        if values is None or not values.kept:
            self._append(entry)
            return
        with self._stored("per_pair", step, values.save) as name:
            self._append(replace(entry, per_pair=name))

    def scores(
        self,
        step: int,
        epoch: int,
        label: str,
        scores: Mapping[str, Float[Tensor, "layer head"]],
        seconds: float,
    ) -> None:
        """Append per-head scores `[layer, head]` by name."""
        arrays = {name: array(values) for name, values in scores.items()}
        self._append(ScoreEntry(step, epoch, label, arrays, seconds))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append numbers of one step, such as the training loss."""
        self._append(ScalarEntry(step, values))

    def patterns(
        self,
        step: int,
        epoch: int,
        label: str,
        maps: Float[Tensor, "prompt layer head query key"],
        tokens: Sequence[Sequence[str]],
    ) -> None:
        """Store attention maps of a few right-padded prompts, and append where they are.

        Args:
            step: the optimizer step.
            epoch: its epoch.
            label: the series that the maps belong to.
            maps: `[prompt, layer, head, query, key]`; what lies past a prompt's last token is not read.
            tokens: the text of each prompt's tokens, without padding.

        Raises:
            ValueError: another number of prompts than token lists, more tokens than positions, or a weight
                outside [0, 1].
        """
        _check_maps(maps, tokens, self._model)
        arrays = array(maps)
        packed: dict[str, Any] = {
            f"prompt{i}": pack(arrays[i, ..., : len(row), : len(row)]) for i, row in enumerate(tokens)
        }
        check_bytes(sum(maps.nbytes for maps in packed.values()))
        with self._stored("attn", step, lambda handle: np.savez_compressed(handle, **packed)) as name:
            self._append(AttentionEntry(step, epoch, label, name, tuple(tuple(row) for row in tokens)))

    def prompts(self, pairs: PromptPairs, label: str = "") -> None:
        """Append the first few pairs, so that a reader can show both prompts of each.

        Args:
            pairs: the pairs that effects are measured on.
            label: the series of effects that they belong to; "" for every series that has none of its own.
        """
        shown = pairs[:SHOWN_PAIRS]
        entry = PromptEntry(
            label=label,
            clean=shown.tokens,
            corrupted=shown.corrupted_tokens,
            answer=tuple(shown.answer.tolist()),
            foil=tuple(shown.foil.tolist()),
            position=tuple(shown.position.tolist()),
            total=len(pairs),
        )
        self._append(entry)

    def checkpoint(self, entry: CheckpointEntry) -> None:
        """Append which checkpoint the passes of a step were run on."""
        self._append(entry)

    def note(self, level: str, message: str) -> None:
        """Append something that a reader should know; `level` is `info`, `warning` or `error`."""
        self._append(Note(level, message))

    def alive(self) -> None:
        """Show other machines, between two writes, that the training goes on."""
        if self._claim is not None:
            self._claim.ownership.touch()

    def close(self, state: State = "finished") -> None:
        """Close the file; what was appended is on disk already.

        Args:
            state: `interrupted` where the training that claimed the record did not come to its end.
        """
        if not self._lines.closed and self._claim is not None:
            self._claim.ownership.release(state)
        self._lines.close()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def restore(self) -> bool:
        """Go on with a new record where this one was deleted or replaced, and note what is missing; whether it was.

        Raises:
            OSError: it can't be made.
            ValueError: another process trains into the record now, or it has become that of another run.
        """
        if self._lines.closed:
            raise ValueError(f"the record in {self.directory} is closed")
        if self._claim is not None:
            self._claim.ownership.check()
        if not self._lines.is_gone():
            if not (self.directory / "run.json").exists():
                put_back(self.directory, self._description)
            return False
        self.directory.mkdir(parents=True, exist_ok=True)
        write_description(self.directory, self._name, self._model, self.run)
        if not self._lines.reopen():
            return False
        self._arrays.forget()
        message = (
            f"the record in {self.directory} was deleted or replaced while a run wrote it: what it held is missing, "
            "and what comes now is recorded"
        )
        self._lines.append(line_of(Note("warning", message)))
        warn_user(message)
        return True

    def _append(self, entry: Entry) -> None:
        line = line_of(entry)
        self.restore()
        replaced = self._arrays.replaced_by(entry)
        self._lines.append(line)
        if replaced is not None:
            replaced.unlink(missing_ok=True)

    @contextmanager
    def _stored(self, folder: str, step: int, save: Callable[..., object]) -> Iterator[str]:
        self.restore()
        with self._arrays.stored(folder, step, save) as name:
            yield name


def _check_maps(maps: Tensor, tokens: Sequence[Sequence[str]], model: Mapping[str, int]) -> None:
    for axis, name in ((1, "n_layers"), (2, "n_heads")):
        if model.get(name) not in (None, maps.shape[axis]):
            raise ValueError(f"attention maps {list(maps.shape)} of a model with {name} {model[name]}")
    if len(tokens) != len(maps):
        raise ValueError(f"{len(maps)} prompts of attention maps came with {len(tokens)} lists of tokens")
    longest = max((len(row) for row in tokens), default=0)
    if longest > maps.shape[-1]:
        raise ValueError(f"a prompt has {longest} tokens and its attention maps {maps.shape[-1]} positions")
