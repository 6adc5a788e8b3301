"""MLflow, through the MLFlowLogger that the Trainer already has, on a database such as SQLite.

Pictures become image series with a step slider, the table and the report become artifacts.
"""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Pictures, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS
from headwatch_callbacks.trackers.picture_tracker import PictureTracker, all_rows
from headwatch_callbacks.trackers.settings import Trackers

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger


class MLFlowTracker(PictureTracker):
    """Sends passes to an MLflow run.

    Args:
        logger: the Trainer's MLFlowLogger.
        settings: per-head series are sent only when `per_head=True`.

    Raises:
        ValueError: the logger writes to MLflow's file store, which MLflow no longer maintains.
    """

    def __init__(self, logger: "MLFlowLogger", settings: Trackers) -> None:
        super().__init__(logger, settings)
        uri = logger._tracking_uri
        if uri.startswith("file:") or "://" not in uri:
            raise ValueError(
                f"MLFlowLogger writes to the file store {uri!r}, which MLflow no longer maintains: "
                "give it a database, MLFlowLogger(tracking_uri='sqlite:///mlflow.db')"
            )

    def _send_pass(self, result: ProbeResult, values: dict[str, float], pictures: Pictures) -> None:
        self.logger.log_metrics({_allowed(name): value for name, value in values.items()}, step=result.step)
        self._send_pictures(pictures, result.step)

    def _send_pictures(self, pictures: Pictures, step: int) -> None:
        for name, picture in pictures.items():
            self.logger.experiment.log_image(self.logger.run_id, picture, key=_allowed(name), step=step)

    def _send_end(self, results: list[ProbeResult], report: Path | None) -> None:
        client, run = self.logger.experiment, self.logger.run_id
        if results:
            client.log_text(run, _table(results), "HeadImportance.csv")
        for result in results:
            for name, head in summary(result).items():
                client.set_tag(run, _allowed(name), head)
        if report is not None:
            client.log_artifact(run, str(report))


def _allowed(name: str) -> str:
    """The name with what MLflow refuses replaced by an underscore."""
    return re.sub(r"[^\w/. -]", "_", name, flags=re.ASCII)


def _table(results: list[ProbeResult]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    writer.writerows(all_rows(results))
    return text.getvalue()
