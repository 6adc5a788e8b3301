"""TensorBoard, through the TensorBoardLogger that the Trainer already has: image series, scalars, a final table.

TensorBoard keeps 10 pictures a tag unless it is started with `--samples_per_plugin images=1000`.
HParams are left untouched.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Album, Pictures, numbers
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS, table_rows
from headwatch_callbacks.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger

_MOST_ROWS = 20  # a table of a label's strongest heads, as text


class TensorBoardSink:
    """Sends passes to TensorBoard's event file.

    Args:
        logger: the Trainer's TensorBoardLogger.
        options: per-head series are sent only when `per_head=True`.
    """

    def __init__(self, logger: "TensorBoardLogger", options: TrackerOptions) -> None:
        self.logger = logger
        self._per_head = bool(options.per_head)
        self._album = Album(options)
        self._fresh: dict[str, ProbeResult] = {}

    def write(self, result: ProbeResult) -> None:
        """Send one pass."""
        self._fresh[result.label] = result
        self.logger.log_metrics(numbers(result, self._per_head), step=result.step)
        self._draw(self._album.add(result), result.step)

    def finish(self, report: Path | None = None) -> None:
        """Send the pictures that were skipped last, and the strongest heads of each label as text."""
        for result, pictures in self._album.last():
            self._draw(pictures, result.step)
        for label, result in self._fresh.items():
            tag = f"HeadImportance/{label}"
            self.logger.experiment.add_text(tag, _markdown(result), global_step=result.step)
        self._fresh = {}
        if report is not None:
            self.logger.experiment.add_text("headwatch/report", f"The report of this run: `{report}`")
        self.logger.experiment.flush()

    def _draw(self, pictures: Pictures, step: int) -> None:
        for name, picture in pictures.items():
            self.logger.experiment.add_image(name, np.asarray(picture), global_step=step, dataformats="HWC")


def _markdown(result: ProbeResult) -> str:
    """The strongest heads of each map of a pass as a Markdown table."""
    lines = ["| " + " | ".join(TABLE_COLUMNS) + " |", "|---" * len(TABLE_COLUMNS) + "|"]
    rank = TABLE_COLUMNS.index("rank")
    rows = (row for row in table_rows(result) if row[rank] <= _MOST_ROWS)  # type: ignore[operator]
    lines.extend("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
