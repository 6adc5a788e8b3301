"""The npz files beside a record's lines: on disk before the line that names them, and removed once none counts.

Of two passes of one series at one step the later counts. The file of the earlier is removed after the later one's line
is written, so that whenever a run is killed, every line that counts has its file.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from headwatch.record.entries import AttentionEntry, EffectEntry, Entry
from headwatch.record.reader import Tail
from headwatch.record.steps import file_stem
from headwatch.record.whole_file import write_whole

FOLDERS = ("attn", "per_pair")
SETTLED_SECONDS = 15 * 60  # a file without a line may be that of a pass that is being written
_Pass = tuple[str, int, str]  # folder, step, series


class ArrayFiles:
    """The files of arrays of a record that is being written.

    Args:
        directory: the record's directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._earlier: dict[_Pass, str] | None = None
        self._last: dict[tuple[str, str], tuple[int, str]] = {}

    @contextmanager
    def stored(self, folder: str, step: int, save: Callable[..., object]) -> Iterator[str]:
        """Write a file before the line that names it, and take it back where that line can't be written.

        Args:
            folder: `attn` or `per_pair`.
            step: the step that the file's name begins with.
            save: given the open file, writes into it.
        """
        file = self._free(folder, step)
        try:
            write_whole(file, save)
            yield file.name
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def replaced_by(self, entry: Entry) -> Path | None:
        """The file of the pass whose place an entry takes, to be removed once its line is written."""
        if not isinstance(entry, EffectEntry | AttentionEntry):
            return None
        if self._earlier is None:
            self._earlier = _counting(self._directory)
        (folder, step, label), file = _place(entry)
        before = self._earlier.pop((folder, step, label), None)
        last_step, last_file = self._last.pop((folder, label), (None, None))
        if file is not None:
            self._last[folder, label] = (step, file)
        before = last_file if last_step == step else before
        shared = before in self._earlier.values() or before == file
        return None if before is None or shared else self._directory / before

    def sweep(self) -> None:
        """Remove what killed runs left, where that can be done: files that no line names, or none that counts."""
        counting = set(_counting(self._directory).values())
        for folder in FOLDERS:
            with suppress(OSError), os.scandir(self._directory / folder) as items:
                for item in items:
                    settled = time.time() - item.stat().st_mtime > SETTLED_SECONDS
                    ours = item.name.endswith((".npz", ".part"))
                    if ours and settled and f"{folder}/{item.name}" not in counting:
                        os.unlink(item.path)

    def forget(self) -> None:
        """Forget which files there were: the record was deleted."""
        self._earlier, self._last = None, {}

    def _free(self, folder: str, step: int) -> Path:
        (self._directory / folder).mkdir(exist_ok=True)
        for turn in count():
            file = (
                self._directory
                / folder
                / (f"{file_stem(step)}-{turn}.npz" if turn else f"{file_stem(step)}.npz")
            )
            with suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o644))
                return file
        raise AssertionError("unreachable")


def _counting(directory: Path) -> dict[_Pass, str]:
    """The file of each pass that counts."""
    found: dict[_Pass, str] = {}
    for entry in Tail(directory).poll()[0]:
        if isinstance(entry, EffectEntry | AttentionEntry):
            at, file = _place(entry)
            found.pop(at, None)
            if file is not None:
                found[at] = file
    return found


def _place(entry: EffectEntry | AttentionEntry) -> tuple[_Pass, str | None]:
    """Which pass an entry is, and its file in the record; None where it has none."""
    folder, name = ("attn", entry.file) if isinstance(entry, AttentionEntry) else ("per_pair", entry.per_pair)
    return (folder, entry.step, entry.label), None if name is None else f"{folder}/{name}"
