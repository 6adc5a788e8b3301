"""A tracker that fails must not take the training with it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from headwatch_callbacks.questions.result import ProbeResult


class TrackerSink(Protocol):
    """What one tracker does with results. It may raise: `GuardedSink` stands around it."""

    def write(self, result: ProbeResult) -> None:
        """Send one pass."""

    def finish(self, report: Path | None = None) -> None:
        """Send what comes once, at the end, with the HTML report if there is one."""


class GuardedSink:
    """A sink around a sink: the first exception is told in one warning and switches it off.

    Args:
        sink: the sink that may raise.
        name: what to call it in the warning, such as `WandbLogger`; None = the sink's class.
        lost: called with the exception when the sink is switched off; what it returns ends the warning.
    """

    def __init__(
        self, sink: TrackerSink, name: str | None = None, lost: Callable[[Exception], str] | None = None
    ) -> None:
        self.sink = sink
        self.name = name or type(sink).__name__
        self.enabled = True
        self._lost = lost

    def write(self, result: ProbeResult) -> None:
        """Send one pass, unless the sink was switched off before."""
        self.attempt(lambda: self.sink.write(result))

    def finish(self, report: Path | None = None) -> None:
        """Send what comes at the end. Safe to call more than once: only what is new is sent."""
        self.attempt(lambda: self.sink.finish(report) if report else self.sink.finish())

    def attempt(self, send: Callable[[], None]) -> None:
        """Do something with the sink, unless it was switched off before; what it raises switches it off."""
        if not self.enabled:
            return
        try:
            send()
        except Exception as error:  # whatever a tracker raises, training must go on
            self.enabled = False
            more = f" {self._lost(error)}" if self._lost else ""
            warnings.warn(
                f"headwatch sends nothing more to {self.name}, which failed with "
                f"{type(error).__name__}: {error}. Training goes on.{more}",
                stacklevel=3,
            )
