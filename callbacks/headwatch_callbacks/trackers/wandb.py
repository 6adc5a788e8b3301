"""Weights & Biases, through the WandbLogger that the Trainer already has.

One call a pass, with `trainer/global_step` beside the values (never `step=`): one heat map under one fixed key,
which is what the hosted step slider scrubs, and a few scalars. At the end one immutable table `HeadImportance`,
the head that matters most in the run's summary, and the HTML report. A pass costs about 10 ms.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Album, Pictures, numbers, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS, table_rows
from headwatch_callbacks.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

    from headwatch_callbacks.hf_trainer import WandbRun


class WandbSink:
    """Sends passes to a wandb run.

    Args:
        logger: the Trainer's WandbLogger; its run is started at the first pass, not before.
        options: per-head series are sent only when `per_head=True`.
        x: the name under which the logger sends the step.
    """

    def __init__(
        self, logger: "WandbLogger | WandbRun", options: TrackerOptions, x: str = "trainer/global_step"
    ) -> None:
        self.logger = logger
        self._x = x
        self._per_head = bool(options.per_head)
        self._album = Album(options)
        self._latest: dict[str, ProbeResult] = {}
        self._fresh = False
        self._report: Path | None = None

    def write(self, result: ProbeResult) -> None:
        """Send one pass in one call."""
        if not self._latest:
            self.logger.experiment.define_metric("headwatch/*", step_metric=self._x)
            self.logger.experiment.define_metric("heads/*", step_metric=self._x)
        self._latest[result.label] = result
        self._fresh = True
        values: dict[str, Any] = {"epoch": result.epoch, **numbers(result, self._per_head)}
        self._log(values | _images(self._album.add(result)), result.step)

    def finish(self, report: Path | None = None) -> None:
        """Send the pictures that were skipped last, the table, the summary and the report."""
        for result, pictures in self._album.last():
            self._log(_images(pictures), result.step)
        values = self._table() if self._fresh else {}
        if report is not None and report != self._report:
            values["headwatch/report"] = _html(report)
            self._report = report
        if values:
            self._log(values, max(result.step for result in self._latest.values()))
        self._fresh = False

    def _table(self) -> dict[str, Any]:
        import wandb

        results = self._latest.values()
        for result in results:
            self.logger.experiment.summary.update(summary(result))
        rows = [row for result in results for row in table_rows(result)]
        return {"HeadImportance": wandb.Table(columns=list(TABLE_COLUMNS), data=rows)} if rows else {}

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.logger.log_metrics(values, step=step)


def _images(pictures: Pictures) -> dict[str, Any]:
    import wandb

    return {name: wandb.Image(picture) for name, picture in pictures.items()}


def _html(report: Path) -> Any:
    import wandb

    # inject=False: wandb would put a style of its own into the page, which the page's security policy forbids.
    return wandb.Html(str(report), inject=False)
