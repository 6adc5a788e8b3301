"""Which checkpoints a record is about, and a warning where two of different steps have identical weights.

Published series of checkpoints contain such duplicates, and a curve over their steps is flat there without the model
having stopped to learn.
"""

from itertools import takewhile
from pathlib import Path

from headwatch.record import CheckpointEntry, Tail
from headwatch.warn import warn_user
from headwatch_callbacks.trackers.run_recorder import RunRecorder


class KnownCheckpoints:
    """The checkpoints in a record, those included that other processes put into it meanwhile.

    Args:
        folder: the record's folder, which need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._tail = Tail(folder)
        self._known: list[CheckpointEntry] = []

    def add(self, entry: CheckpointEntry, recorder: RunRecorder) -> None:
        """Put a checkpoint into the record, once; warn where one of its weights is in it with another step."""
        self._read_on()
        if entry in self._known:
            return
        recorder.checkpoint(entry)
        # Of two processes that write at once, the one whose line comes second finds the other's before its own.
        self._read_on()
        for other in takewhile(lambda known: known != entry, self._known):
            if other.sha256 == entry.sha256 and other.step != entry.step:
                _warn(other, entry, recorder)

    def _read_on(self) -> None:
        entries, _ = self._tail.poll()
        self._known += [entry for entry in entries if isinstance(entry, CheckpointEntry)]


def _warn(one: CheckpointEntry, other: CheckpointEntry, recorder: RunRecorder) -> None:
    first, second = sorted((one, other), key=lambda entry: entry.step)
    message = (
        f"the checkpoints {first.name} (step {first.step}) and {second.name} (step {second.step}) have identical "
        "weights: either nothing was trained in between, or one of them was saved under another's step"
    )
    recorder.note("warning", message)
    warn_user(message)
