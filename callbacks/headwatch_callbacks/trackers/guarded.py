"""A tracker that fails must not take the training with it."""

import warnings
from collections.abc import Callable
from pathlib import Path

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.tracker import Tracker


class GuardedTracker(Tracker):
    """A tracker around a tracker: the first exception is told in one warning and switches it off.

    Args:
        tracker: the tracker that may raise.
        name: what to call it in the warning, such as `WandbLogger`; None = the tracker's class.
        lost: called with the exception when the tracker is switched off; what it returns ends the warning.
    """

    def __init__(
        self, tracker: Tracker, name: str | None = None, lost: Callable[[Exception], str] | None = None
    ) -> None:
        self.tracker = tracker
        self.name = name or type(tracker).__name__
        self.enabled = True
        self._lost = lost

    def write(self, result: ProbeResult) -> None:
        """Send one pass, unless the tracker was switched off before."""
        self.attempt(lambda: self.tracker.write(result))

    def finish(self, report: Path | None = None) -> None:
        """Send what comes at the end. Safe to call more than once: only what is new is sent."""
        self.attempt(lambda: self.tracker.finish(report))

    def attempt(self, send: Callable[[], None]) -> None:
        """Do something with the tracker, unless it was switched off before; what it raises switches it off."""
        if not self.enabled:
            return
        try:
            send()
        except Exception as error:  # whatever a tracker raises, it must not end the training from here
            self.enabled = False
            more = f" {self._lost(error)}" if self._lost else ""
            warnings.warn(
                f"headwatch sends nothing more to {self.name}, which failed with "
                f"{type(error).__name__}: {error}.{more}",
                stacklevel=3,
            )
