"""trackio, Hugging Face's local-first tracker: a Lightning logger for it, and its tracker.

Lightning has no logger for trackio, so this is one: `Trainer(logger=TrackioLogger("my-project"))`.
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Pictures, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS
from headwatch_callbacks.trackers.picture_tracker import PictureTracker, all_rows


class TrackioLogger(Logger):
    """Logs a training to trackio. Nothing is written before the first value.

    Args:
        project: the project's name.
        name: the run's name; trackio makes one up where it is None.
        resume: `never`, `allow` or `must`: whether values go to an existing run of that name.
        **init: further arguments of `trackio.init`, such as `space_id`.

    Raises:
        ModuleNotFoundError: trackio is not installed.
    """

    def __init__(self, project: str, name: str | None = None, resume: str = "allow", **init: Any) -> None:
        super().__init__()
        try:
            import trackio
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "TrackioLogger needs trackio: pip install 'headwatch[trackio]'"
            ) from error
        self._trackio = trackio
        self._init = {"project": project, "name": name, "resume": resume, "embed": False, **init}
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project's name, which Lightning takes as the folder of a default record and of checkpoints."""
        return self._init["project"]

    @property
    def version(self) -> str | None:
        """The run's name; None before trackio has made one up."""
        return self._init["name"] if self._run is None else self._run.name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The trackio run, started on first use."""
        if self._run is None:
            self._run = self._trackio.init(**self._init)
            # A later use, such as validate after fit, goes on with the same run.
            self._init |= {"name": self._run.name, "resume": "allow"}
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Put the hyper-parameters into the run's configuration."""
        values = vars(params) if isinstance(params, Namespace) else params
        self.experiment.config.update({name: str(value) for name, value in values.items()})

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values in one call; without a step trackio counts its calls."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write out what is queued and close the run; a later value opens it again."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class TrackioTracker(PictureTracker):
    """Sends passes to a trackio run, through a `TrackioLogger`: one call a pass."""

    def _send_pass(self, result: ProbeResult, values: dict[str, float], pictures: Pictures) -> None:
        self.logger.log_metrics({**values, **_images(pictures)}, step=result.step)

    def _send_pictures(self, pictures: Pictures, step: int) -> None:
        self.logger.log_metrics(_images(pictures), step=step)

    def _send_end(self, results: list[ProbeResult], report: Path | None) -> None:
        import trackio

        values: dict[str, Any] = {}
        if results:
            values["HeadImportance"] = trackio.Table(columns=list(TABLE_COLUMNS), data=all_rows(results))
        for result in results:
            values |= summary(result)
        if report is not None:
            values["headwatch/report"] = trackio.Html(str(report))
        if values:
            self.logger.log_metrics(values, step=self._last_step)


def _images(pictures: Pictures) -> dict[str, Any]:
    import trackio

    return {name: trackio.Image(picture) for name, picture in pictures.items()}
