"""What a tracker is, and the registry in which each is known by the name of its logger's class."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwatch.registry import Registry
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.settings import Trackers


class Tracker(ABC):
    """Sends the results of passes somewhere. It may raise: a `GuardedTracker` stands around it.

    To have headwatch write to a Lightning logger of your own kind, register a class that takes the logger and the
    Trainer's `Trackers` settings, before training begins::

        @TRACKERS.register("MyLogger")
        class MyTracker(Tracker):
            def __init__(self, logger, settings):
                self.logger = logger

            def write(self, result):
                self.logger.log_metrics(numbers(result, per_head=False), step=result.step)

            def finish(self, report=None):
                self.logger.save()
    """

    @abstractmethod
    def write(self, result: ProbeResult) -> None:
        """Send what one pass found; `result.step` is the x of every value."""

    @abstractmethod
    def finish(self, report: Path | None = None) -> None:
        """Send what comes once, at the end, with the HTML report if there is one.

        It may be called again after more passes, and then sends what is new.
        """


TRACKERS: Registry[Callable[[Any, Trackers], Tracker]] = Registry("tracker")
"""The tracker class for each logger class, by the logger class's name; subclasses of the logger are known too."""
