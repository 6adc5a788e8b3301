"""The record of a training: it is the training's alone, and what can't be written costs one pass, never the rest.

A failed write is warned about once, the next pass is tried again, and a note in the record says what is missing.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwatch.model.architecture import Sizes
from headwatch.record.claim import claim
from headwatch.record.owner import State, TakenOverError
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.run_recorder import RunRecorder
from headwatch_callbacks.trackers.tracker import Tracker

NAMED = 5  # passes that a note names; of more it says how many


@dataclass(frozen=True)
class RunIdentity:
    """Which run a checkpoint is of.

    Attributes:
        id: the identity in the record's `run.json`.
        folder: where the record was when the checkpoint was written.
    """

    id: str
    folder: Path

    def state(self) -> dict[str, str]:
        """What a checkpoint keeps of it."""
        return {"run": self.id, "record": str(self.folder)}

    @classmethod
    def in_state(cls, state: Mapping[str, Any]) -> "RunIdentity | None":
        """What a checkpoint kept of it; None in one of an earlier headwatch."""
        return cls(state["run"], Path(state["record"])) if "run" in state else None


class TrainingRecorder(Tracker):
    """Writes the results of a training into a record, whatever becomes of the disk.

    Args:
        folder: the record's folder, made where it is missing.
        sizes: the model's sizes.
        goes_on: whether training goes on from a checkpoint.
        run: the identity of the run that the checkpoint is of; None where it doesn't say.
        alone: False to add to a record beside others, such as the passes of an evaluation.

    Raises:
        OSError: the record can't be made.
        ValueError: another process trains into it, or it is the record of another run or model.
    """

    def __init__(
        self, folder: Path, sizes: Sizes, *, goes_on: bool = False, run: str | None = None, alone: bool = True
    ) -> None:
        self.folder = folder
        claimed = claim(folder, goes_on=goes_on, run=run) if alone else None
        try:
            self._recorder = RunRecorder(folder, sizes, claimed)
        except BaseException:
            if claimed is not None:
                claimed.ownership.abandon()
            raise
        self._missed: list[str] = []
        self._failing, self._over, self._diverged = False, False, False
        for told in () if claimed is None else claimed.told:
            self.note("info", told)

    @property
    def identity(self) -> RunIdentity:
        """Which run this is, for its checkpoints."""
        return RunIdentity(self._recorder.run, self.folder.absolute())

    def write(self, result: ProbeResult) -> None:
        """Append one pass."""
        self._attempt(lambda: self._recorder.write(result), f"{result.label} at step {result.step}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append numbers of one step, such as the training loss; says once from which step on a loss is not finite."""
        self._tell_diverged(step, {name: value for name, value in values.items() if "loss" in name})
        self._attempt(lambda: self._recorder.scalars(step, values), f"{', '.join(values)} at step {step}")

    def _tell_diverged(self, step: int, losses: Mapping[str, float]) -> None:
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken and not self._diverged:
            said = f"{broken[0]} is not finite since step {step}, and so is what passes find of such weights"
            self.note("warning", said)
            self._warn(f"sees that the training has diverged: {said}")
        self._diverged = bool(broken) if losses else self._diverged

    def note(self, level: str, message: str) -> None:
        """Append something that a reader should know; `level` is `info`, `warning` or `error`."""
        self._attempt(lambda: self._recorder.note(level, message), f"a note ({message})")

    def finish(self, report: Path | None = None) -> None:
        """Close the record of a training that came to its end."""
        self.close("finished")

    def alive(self) -> None:
        """Show other machines, between two writes, that the training goes on."""
        self._recorder.alive()

    def close(self, state: State) -> None:
        """Close the record, and give it up.

        Args:
            state: `finished`, or `interrupted`, after which a new run with the same arguments may take its place.
        """
        if self._missed:
            self._attempt(lambda: None, "")
        try:
            self._recorder.close(state)
        except OSError as error:
            self._warn(f"could not close the record in {self.folder}: {error}")

    def _attempt(self, action: Callable[[], None], what: str) -> None:
        if self._over:
            return
        try:
            self._tell_missed()
            action()
            self._failing = False
        except TakenOverError as error:
            self._over = True
            self._warn(f"writes nothing more into the record: {error}; training goes on")
        except Exception as error:  # whatever a disk raises, training must go on
            self._missed += [what] if what else []
            if not self._failing:
                self._failing = True
                self._warn(
                    f"could not write {what or 'what is missing'} into the record in {self.folder}: "
                    f"{type(error).__name__}: {error}; training goes on, and the next pass is tried again"
                )

    def _tell_missed(self) -> None:
        if self._missed:
            named = "; ".join(self._missed[:NAMED])
            more = f" and {len(self._missed) - NAMED} more" if len(self._missed) > NAMED else ""
            self._recorder.note("warning", f"missing, because writing it failed: {named}{more}")
            self._missed = []

    def _warn(self, sentence: str) -> None:
        warnings.warn(f"headwatch {sentence}", stacklevel=4)
