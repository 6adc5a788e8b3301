"""What the trackers that take pictures do alike: which passes are drawn, and what is left for the end."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Album, Pictures, numbers
from headwatch_callbacks.trackers.importance import table_rows
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.tracker import Tracker


class PictureTracker(Tracker):
    """Numbers and pictures of each pass; at the end the pictures that were skipped last, a table and the report.

    Args:
        logger: the Trainer's logger; its run is started at the first pass, not before.
        settings: what is sent beyond one map a pass; per-head series only with `per_head=True`.

    Attributes:
        logger: the logger.
    """

    def __init__(self, logger: Any, settings: Trackers) -> None:
        self.logger = logger
        self._per_head = bool(settings.per_head)
        self._album = Album(settings)
        self._latest: dict[str, ProbeResult] = {}
        self._fresh: set[str] = set()

    def write(self, result: ProbeResult) -> None:
        """Send one pass: its numbers, and its pictures where they are due."""
        self._latest[result.label] = result
        self._fresh.add(result.label)
        self._send_pass(result, numbers(result, self._per_head), self._album.add(result))

    def finish(self, report: Path | None = None) -> None:
        """Send the pictures that were skipped last, the table of all heads if there is a new pass, and the report."""
        for result, pictures in self._album.last():
            self._send_pictures(pictures, result.step)
        self._send_end(list(self._latest.values()) if self._fresh else [], report)
        self._fresh = set()

    @property
    def _last_step(self) -> int:
        return max(result.step for result in self._latest.values())

    @abstractmethod
    def _send_pass(self, result: ProbeResult, values: dict[str, float], pictures: Pictures) -> None:
        """Send the numbers and the pictures of one pass, each by its key."""

    @abstractmethod
    def _send_pictures(self, pictures: Pictures, step: int) -> None:
        """Send pictures by key, at their step."""

    @abstractmethod
    def _send_end(self, results: list[ProbeResult], report: Path | None) -> None:
        """Send the table of the latest pass of each label, its top heads and the report.

        Args:
            results: the latest pass of each label; empty where there is none since the last time.
            report: the HTML report.
        """


def all_rows(results: list[ProbeResult]) -> list[list[object]]:
    """The rows of the table `HeadImportance`: those of each pass in turn."""
    return [row for result in results for row in table_rows(result)]
