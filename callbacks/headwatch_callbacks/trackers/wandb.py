"""Weights & Biases, through the WandbLogger that the Trainer already has.

One call a pass, with `trainer/global_step` beside the values (never `step=`): one heat map under one fixed key,
which is what the hosted step slider scrubs, and a few scalars. At the end one immutable table `HeadImportance`,
the head that matters most in the run's summary, and the HTML report. A pass costs about 10 ms.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.alerts import ChangeAlerts
from headwatch_callbacks.trackers.content import Pictures, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS
from headwatch_callbacks.trackers.picture_tracker import PictureTracker, all_rows
from headwatch_callbacks.trackers.settings import Trackers

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


class WandbRun:
    """The wandb run that a `transformers.Trainer`'s own integration started, in the place of a WandbLogger.

    `trainer.log()` inside a callback would eat the Trainer's own rows.
    """

    @property
    def experiment(self) -> Any:
        """The `wandb.Run` of this process; None before the Trainer started one."""
        import wandb

        return wandb.run

    def log_metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Log one pass in one call, with the Trainer's own x, `train/global_step`, beside it."""
        self.experiment.log({**values, "train/global_step": step})


class WandbTracker(PictureTracker):
    """Sends passes to a wandb run.

    Args:
        logger: the Trainer's WandbLogger; its run is started at the first pass, not before.
        settings: per-head series are sent only when `per_head=True`, alerts only when `alerts=True`.
        x: the name under which the logger sends the step.
    """

    def __init__(
        self, logger: "WandbLogger | WandbRun", settings: Trackers, x: str = "trainer/global_step"
    ) -> None:
        super().__init__(logger, settings)
        self._x = x
        self._defined = False
        self._report: Path | None = None
        self._alerts = ChangeAlerts() if settings.alerts else None

    def _send_pass(self, result: ProbeResult, values: dict[str, float], pictures: Pictures) -> None:
        if not self._defined:
            for names in ("headwatch/*", "heads/*"):
                self.logger.experiment.define_metric(names, step_metric=self._x)
            self._defined = True
        self.logger.log_metrics({"epoch": result.epoch, **values, **_images(pictures)}, step=result.step)
        alert = None if self._alerts is None else self._alerts.alert(result)
        if alert is not None:
            self.logger.experiment.alert(title=alert.title, text=alert.text)

    def _send_pictures(self, pictures: Pictures, step: int) -> None:
        self.logger.log_metrics(_images(pictures), step=step)

    def _send_end(self, results: list[ProbeResult], report: Path | None) -> None:
        for result in results:
            self.logger.experiment.summary.update(summary(result))
        values = _table(results)
        if report is not None and report != self._report:
            values["headwatch/report"] = _html(report)
            self._report = report
        if values:
            self.logger.log_metrics(values, step=self._last_step)


def _table(results: list[ProbeResult]) -> dict[str, Any]:
    import wandb

    rows = all_rows(results)
    return {"HeadImportance": wandb.Table(columns=list(TABLE_COLUMNS), data=rows)} if rows else {}


def _images(pictures: Pictures) -> dict[str, Any]:
    import wandb

    return {name: wandb.Image(picture) for name, picture in pictures.items()}


def _html(report: Path) -> Any:
    import wandb

    # inject=False: wandb would put a style of its own into the page, which the page's security policy forbids.
    return wandb.Html(str(report), inject=False)
