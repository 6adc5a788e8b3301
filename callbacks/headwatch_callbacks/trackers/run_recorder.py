"""The run's own record on disk: always written, and what the report and the live page read."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from headwatch.model.architecture import Sizes
from headwatch.record import CheckpointEntry, Claim, RecordWriter
from headwatch.record.owner import State
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.tracker import Tracker


class RunRecorder(Tracker):
    """Writes results into a record; see `headwatch.record`.

    Args:
        folder: the record's folder, made where it is missing; its name is the run's name.
        sizes: the model's sizes.
        claim: a training's claim to the record; None to add to it beside others.

    Raises:
        ValueError: the folder holds the record of a model with other sizes.
    """

    def __init__(self, folder: Path, sizes: Sizes, claim: Claim | None = None) -> None:
        self._writer = RecordWriter(folder, name=folder.name, model=asdict(sizes), claim=claim)
        self._described: dict[str, int] = {}

    def write(self, result: ProbeResult) -> None:
        """Append one pass; the first one of a series, and one of more pairs, bring the prompts that it is about."""
        if self._writer.restore():
            self._described = {}
        at = (result.step, result.epoch)
        if result.pairs is not None and len(result.pairs) > self._described.get(result.label, 0):
            self._writer.prompts(result.pairs, result.label)
            self._described[result.label] = len(result.pairs)
        if result.effects is not None:
            self._writer.effects(
                *at,
                result.probe,
                result.label,
                result.effects,
                result.seconds,
                pairs=result.pairs,
                overhead=result.overhead,
            )
        if result.scores:
            self._writer.scores(*at, result.label, result.scores, result.seconds)
        if result.frame is not None:
            self._writer.patterns(*at, result.label, result.frame.maps, result.frame.tokens)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append numbers of one step, such as the training loss."""
        self._writer.scalars(step, values)

    def checkpoint(self, entry: CheckpointEntry) -> None:
        """Append which checkpoint the passes of a step were run on."""
        self._writer.checkpoint(entry)

    def note(self, level: str, message: str) -> None:
        """Append something that a reader should know; `level` is `info`, `warning` or `error`."""
        self._writer.note(level, message)

    def finish(self, report: Path | None = None) -> None:
        """Close the record's file. The report, which is made from the record, is not put into it."""
        self.close("finished")

    def alive(self) -> None:
        """Show other machines, between two writes, that the training goes on."""
        self._writer.alive()

    def close(self, state: State) -> None:
        """Close the record's file, and give up the training's claim to it."""
        self._writer.close(state)

    @property
    def run(self) -> str:
        """The run's identity."""
        return self._writer.run
