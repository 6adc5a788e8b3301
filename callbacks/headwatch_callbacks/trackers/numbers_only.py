"""CSV, and any other logger that takes numbers only: one column a head and probe."""

from pathlib import Path
from typing import TYPE_CHECKING

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import numbers
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.tracker import Tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class NumbersTracker(Tracker):
    """Sends the scalars of passes to a logger through `log_metrics`.

    Args:
        logger: any Lightning logger.
        settings: per-head series are sent unless `per_head=False`: there is no other way to show a map.
    """

    def __init__(self, logger: "Logger", settings: Trackers) -> None:
        self.logger = logger
        self._per_head = settings.per_head is not False

    def write(self, result: ProbeResult) -> None:
        """Send the scalars of one pass."""
        self.logger.log_metrics(numbers(result, self._per_head), step=result.step)

    def finish(self, report: Path | None = None) -> None:
        """Have the logger write out what it holds."""
        self.logger.save()
