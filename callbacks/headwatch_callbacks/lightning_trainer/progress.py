"""A progress bar for passes that take longer than a second, beside whichever bar Lightning shows."""

import time
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import lightning.pytorch as pl
from rich.progress import Progress, TaskID
from tqdm.auto import tqdm

PATIENCE = 1.0  # seconds


class PassProgress:
    """Call it with (done, total). It shows nothing for a second, and nothing at all where Lightning shows no bar.

    Beside Lightning's rich bar it is one more task of the same display, beside its tqdm bar one more line.

    Args:
        trainer: the trainer whose progress bar this stands beside.
        description: what is being done.
    """

    def __init__(self, trainer: pl.Trainer, description: str) -> None:
        self.bar: Any = trainer.progress_bar_callback
        self.shown = trainer.is_global_zero and getattr(self.bar, "is_enabled", False)
        self.description = description
        self.started = time.perf_counter()
        self.display: _RichTask | _TqdmLine | None = None

    def __call__(self, done: int, total: int) -> None:
        """So many interventions of so many are done."""
        if not self.shown or time.perf_counter() - self.started < PATIENCE:
            return
        if self.display is None:
            kind = _RichTask if hasattr(self.bar, "progress") else _TqdmLine
            self.display = kind(self.bar, self.description, total)
        self.display.update(done)

    def __enter__(self) -> "PassProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.display is not None:
            self.display.close()


# Lightning finds its tasks by their place in the list, so ours is kept, hidden between passes, and never removed.
_TASKS: WeakKeyDictionary[Progress, TaskID] = WeakKeyDictionary()


class _RichTask:
    def __init__(self, bar: Any, description: str, total: int) -> None:
        running = bar.progress is not None and bar.progress.live.is_started
        self.own = None if running else Progress(transient=True)
        self.progress: Progress = bar.progress if self.own is None else self.own
        if self.own is not None:
            self.own.start()
        if self.progress not in _TASKS:
            _TASKS[self.progress] = self.progress.add_task(description, total=total)
        self.task = _TASKS[self.progress]
        self.progress.reset(self.task, description=description, total=total, visible=True)

    def update(self, done: int) -> None:
        self.progress.update(self.task, completed=done, refresh=True)

    def close(self) -> None:
        self.progress.update(self.task, visible=False, refresh=True)
        if self.own is not None:
            self.own.stop()


class _TqdmLine:
    def __init__(self, bar: Any, description: str, total: int) -> None:
        self.line = tqdm(desc=description, total=total, leave=False, dynamic_ncols=True)

    def update(self, done: int) -> None:
        self.line.update(done - self.line.n)

    def close(self) -> None:
        self.line.close()
