"""MLflow, through the MLFlowLogger that the Trainer already has, on a database such as SQLite.

Pictures become image series with a step slider, the table and the report become artifacts.
"""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Album, Pictures, numbers, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS, table_rows
from headwatch_callbacks.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger


class MLFlowSink:
    """Sends passes to an MLflow run.

    Args:
        logger: the Trainer's MLFlowLogger.
        options: per-head series are sent only when `per_head=True`.

    Raises:
        ValueError: the logger writes to MLflow's file store, which MLflow no longer maintains.
    """

    def __init__(self, logger: "MLFlowLogger", options: TrackerOptions) -> None:
        uri = logger._tracking_uri
        if uri.startswith("file:") or "://" not in uri:
            raise ValueError(
                f"MLFlowLogger writes to the file store {uri!r}, which MLflow no longer maintains: "
                "give it a database, MLFlowLogger(tracking_uri='sqlite:///mlflow.db')"
            )
        self.logger = logger
        self._per_head = bool(options.per_head)
        self._album = Album(options)
        self._latest: dict[str, ProbeResult] = {}
        self._fresh = False

    def write(self, result: ProbeResult) -> None:
        """Send one pass."""
        self._latest[result.label] = result
        self._fresh = True
        found = numbers(result, self._per_head)
        self.logger.log_metrics({_allowed(name): value for name, value in found.items()}, step=result.step)
        self._draw(self._album.add(result), result.step)

    def finish(self, report: Path | None = None) -> None:
        """Send the pictures that were skipped last, the table, the top heads as tags, and the report."""
        client, run = self.logger.experiment, self.logger.run_id
        for result, pictures in self._album.last():
            self._draw(pictures, result.step)
        if self._fresh:
            client.log_text(run, _table(list(self._latest.values())), "HeadImportance.csv")
            for result in self._latest.values():
                for name, head in summary(result).items():
                    client.set_tag(run, _allowed(name), head)
        if report is not None:
            client.log_artifact(run, str(report))
        self._fresh = False

    def _draw(self, pictures: Pictures, step: int) -> None:
        for name, picture in pictures.items():
            self.logger.experiment.log_image(self.logger.run_id, picture, key=_allowed(name), step=step)


def _allowed(name: str) -> str:
    """The name with what MLflow refuses replaced by an underscore."""
    return re.sub(r"[^\w/. -]", "_", name, flags=re.ASCII)


def _table(results: list[ProbeResult]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    writer.writerows(row for result in results for row in table_rows(result))
    return text.getvalue()
