"""trackio, Hugging Face's local-first tracker: a Lightning logger for it, and its sink.

Lightning has no logger for trackio, so this is one: `Trainer(logger=TrackioLogger("my-project"))`.
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.content import Album, Pictures, numbers, summary
from headwatch_callbacks.trackers.importance import TABLE_COLUMNS, table_rows
from headwatch_callbacks.trackers.options import TrackerOptions


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
        """The project's name."""
        return self._init["project"]

    @property
    def version(self) -> str | None:
        """The run's name."""
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
        """Log values of one step."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write out what is queued and close the run; a later value opens it again."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class TrackioSink:
    """Sends passes to a trackio run.

    Args:
        logger: the Trainer's TrackioLogger.
        options: per-head series are sent only when `per_head=True`.
    """

    def __init__(self, logger: TrackioLogger, options: TrackerOptions) -> None:
        self.logger = logger
        self._per_head = bool(options.per_head)
        self._album = Album(options)
        self._latest: dict[str, ProbeResult] = {}
        self._fresh = False

    def write(self, result: ProbeResult) -> None:
        """Send one pass in one call."""
        self._latest[result.label] = result
        self._fresh = True
        images = self._images(self._album.add(result))
        self.logger.log_metrics({**numbers(result, self._per_head), **images}, step=result.step)

    def finish(self, report: Path | None = None) -> None:
        """Send the pictures that were skipped last, the table and the report."""
        import trackio

        for result, pictures in self._album.last():
            self.logger.log_metrics(self._images(pictures), step=result.step)
        values: dict[str, Any] = {}
        if self._fresh:
            results = list(self._latest.values())
            rows = [row for result in results for row in table_rows(result)]
            values["HeadImportance"] = trackio.Table(columns=list(TABLE_COLUMNS), data=rows)
            for result in results:
                values |= summary(result)
        if report is not None:
            values["headwatch/report"] = trackio.Html(str(report))
        if values:
            self.logger.log_metrics(values, step=max(each.step for each in self._latest.values()))
        self._fresh = False

    def _images(self, pictures: Pictures) -> dict[str, Any]:
        import trackio

        return {name: trackio.Image(picture) for name, picture in pictures.items()}
