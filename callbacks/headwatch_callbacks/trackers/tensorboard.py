"""TensorBoard, through the TensorBoardLogger that the Trainer already has: image series, scalars, a final table.

TensorBoard keeps 10 pictures a tag unless it is started with `--samples_per_plugin images=1000`.
HParams are left untouched.
"""

from pathlib import Path

import numpy as np

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Pictures
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS, table_rows
from headwatch_callbacks.trackers.picture_tracker import PictureTracker

_MOST_ROWS = 20  # a table of a label's strongest heads, as text


class TensorBoardTracker(PictureTracker):
    """Sends passes to the event file of a TensorBoardLogger."""

    def _send_pass(self, result: ProbeResult, values: dict[str, float], pictures: Pictures) -> None:
        self.logger.log_metrics(values, step=result.step)
        self._send_pictures(pictures, result.step)

    def _send_pictures(self, pictures: Pictures, step: int) -> None:
        for name, picture in pictures.items():
            self.logger.experiment.add_image(name, np.asarray(picture), global_step=step, dataformats="HWC")

    def _send_end(self, results: list[ProbeResult], report: Path | None) -> None:
        # A text replaces none of its step: only what has a new pass is written.
        for result in results:
            if result.label in self._fresh:
                tag = f"HeadImportance/{result.label}"
                self.logger.experiment.add_text(tag, _markdown(result), global_step=result.step)
        if report is not None:
            self.logger.experiment.add_text("headwatch/report", f"The report of this run: `{report}`")
        self.logger.experiment.flush()


def _markdown(result: ProbeResult) -> str:
    """The strongest heads of each map of a pass as a Markdown table."""
    lines = ["| " + " | ".join(TABLE_COLUMNS) + " |", "|---" * len(TABLE_COLUMNS) + "|"]
    rank = TABLE_COLUMNS.index("rank")
    rows = (row for row in table_rows(result) if row[rank] <= _MOST_ROWS)  # type: ignore[operator]
    lines.extend("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
