"""What the headwatch callbacks of one Trainer share: the record, the trackers, and the time that probes took."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from headwatch.model.architecture import Sizes
from headwatch.page import report
from headwatch_callbacks.background.passes import BackgroundPasses
from headwatch_callbacks.lightning_trainer.ranks import ranks_of
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.training_clock import TrainingClock
from headwatch_callbacks.ranks import Ranks
from headwatch_callbacks.trackers import GuardedTracker, trackers_for
from headwatch_callbacks.trackers.run_recorder import RunRecorder


class Run:
    """Where the results of one Trainer's probes go.

    Attributes:
        folder: the folder of the record; None before it is opened and under `fast_dev_run`, which writes none.
        clock: how long the stage took so far, and for how long of it passes and writing their results held it up.
        stepped: whether the stage took an optimizer step; before, there is no training time to take a share of.
        background: the passes that other processes answer.
        ranks: the processes that train, once the record is open.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.clock = TrainingClock()
        self.stepped = False
        self._trackers: list[GuardedTracker] = []
        self._record: RunRecorder | None = None
        self._losses: dict[str, float] = {}
        self._last_loss_step = -1
        self._monitored: set[str] = set()
        self._owners: dict[str, object] = {}
        self.ranks = Ranks.alone()
        self.background = BackgroundPasses(self.write, self.note, _warn)

    def open(self, trainer: pl.Trainer, sizes: Sizes, record: Path | None) -> None:
        """Open the record and the trackers; does nothing while they are open.

        Args:
            trainer: the trainer, at the start of a stage.
            sizes: the model's.
            record: the record's folder; None = a new one under the trainer's `default_root_dir`.

        Raises:
            ValueError: a new run would be written into the record of another one.
        """
        if self.clock.running:
            return
        self.clock.start()
        self.stepped = False
        self.ranks = ranks_of(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        fresh = trainer.state.fn == "fit" and trainer.global_step == 0
        self.folder = self.folder or self.ranks.from_first(lambda: record or _default_folder(trainer))
        if fresh and self.ranks.from_first((self.folder / "run.json").exists):
            raise ValueError(
                f"{self.folder} already holds the record of another run: give another record=, delete that"
                " folder, or go on with that run by trainer.fit(..., ckpt_path=...)"
            )
        if trainer.is_global_zero:
            self._record = RunRecorder(self.folder, sizes)
            self._trackers = trackers_for(trainer)

    def claim(self, labels: Sequence[str], owner: object) -> None:
        """Keep series for one probe of this trainer.

        Raises:
            ValueError: another one writes one of them.
        """
        for label in labels:
            if self._owners.setdefault(label, owner) is not owner:
                raise ValueError(f"two probes write the series {label}: tell them apart with name=")

    def write(self, result: ProbeResult) -> None:
        """Give a result to the record and to every tracker."""
        counted = replace(result, overhead=self.clock.overhead if self.stepped else None)
        self._to_record(lambda record: record.write(counted))
        for tracker in self._trackers:
            tracker.write(counted)

    def note(self, level: str, message: str) -> None:
        """Write something into the record that its reader should know."""
        self._to_record(lambda record: record.note(level, message))

    def monitor(self, trainer: pl.Trainer, label: str, summary: Mapping[str, float]) -> None:
        """Let `ModelCheckpoint(monitor=...)` and its like see the summary of a pass, as `headwatch/LABEL/NAME`.

        Unlike `pl_module.log` this sends nothing to trackers, and so repeats no value where it wasn't measured.
        """
        named = {f"headwatch/{label}/{name}": value for name, value in summary.items()}
        self._monitored |= set(named)
        device = trainer.strategy.root_device
        trainer.callback_metrics.update({k: torch.tensor(v, device=device) for k, v in named.items()})

    def losses(self, trainer: pl.Trainer, step: int, outputs: Any) -> None:
        """Write what the training logged with `loss` in its name, or else its step's own loss, into the record."""
        if self._record is None or step == self._last_loss_step:
            return
        self._last_loss_step = step
        found = {
            name: value.item()
            for name, value in trainer.callback_metrics.items()
            if "loss" in name and name not in self._monitored
        }
        if not found and isinstance(outputs, Mapping) and "loss" in outputs:
            found = {"loss": outputs["loss"].item() * trainer.accumulate_grad_batches}
        # Lightning keeps the last validation's loss until the next one: written once, not at each step.
        changed = {name: value for name, value in found.items() if self._losses.get(name) != value}
        self._losses |= changed
        if changed:
            self._to_record(lambda record: record.scalars(step, changed))

    @property
    def share(self) -> float:
        """The share of the stage's wall time that the probes took, 0 to 1."""
        return self.clock.held_up / max(self.clock.wall, 1e-9)

    def close(self) -> None:
        """Let every tracker send what comes at the end, with the run's report, and close the record."""
        self.clock.stop()
        self.background.close()
        written = self._write_report() if self._trackers else None
        for tracker in self._trackers:
            tracker.finish(written)
        self._trackers = []
        self._to_record(lambda record: record.finish())
        self._record = None
        self.ranks.close()
        self.ranks = Ranks.alone()

    def _write_report(self) -> Path | None:
        assert self.folder is not None
        try:
            return report([self.folder], self.folder / "report.html")
        except Exception as error:  # the training is over and must not be lost for the sake of a page
            rank_zero_warn(
                f"headwatch could not write a report of {self.folder}: {type(error).__name__}: {error}"
            )
            return None

    def _to_record(self, action: Callable[[RunRecorder], None]) -> None:
        if self._record is None:
            return
        try:
            action(self._record)
        except Exception as error:  # a full disk, say: training must go on
            self._record = None
            rank_zero_warn(
                f"headwatch writes nothing more into the record in {self.folder}, which failed with"
                f" {type(error).__name__}: {error}; training goes on"
            )


def _warn(message: str, category: type[Warning]) -> None:
    rank_zero_warn(message, category=category)


_RUNS: WeakKeyDictionary[pl.Trainer, Run] = WeakKeyDictionary()


def run_of(trainer: pl.Trainer) -> Run:
    """What the headwatch callbacks of a trainer share."""
    return _RUNS.setdefault(trainer, Run())


def record_folder(trainer: pl.Trainer) -> Path | None:
    """The folder of the record that a trainer's probes write; None before they start and under `fast_dev_run`.

    Example:
        >>> trainer = L.Trainer(callbacks=[GradientImportance(every_n_train_steps=10)])
        >>> trainer.fit(module, data)
        >>> (record_folder(trainer) / "run.json").exists()
        True
    """
    return run_of(trainer).folder


def probe_share(trainer: pl.Trainer) -> float:
    """The share of the wall time of a trainer's last (or running) stage that its probes took, 0 to 1.

    Example:
        >>> trainer = L.Trainer(callbacks=[GradientImportance(every_n_train_steps=10)])
        >>> trainer.fit(module, data)
        >>> 0 < probe_share(trainer) < 1
        True
    """
    return run_of(trainer).share


def _default_folder(trainer: pl.Trainer) -> Path:
    root = Path(trainer.default_root_dir) / "headwatch_runs"
    logger = trainer.logger
    parts = [] if logger is None else [logger.name, logger.version]
    named = "-".join(str(part) for part in parts if part not in (None, ""))
    wanted = "".join(c if c.isalnum() or c in "-_." else "-" for c in named).strip(".")
    return _free(root / (wanted or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")))


def _free(folder: Path) -> Path:
    taken = 1
    free = folder
    while free.exists():
        taken += 1
        free = folder.with_name(f"{folder.name}-{taken}")
    return free
