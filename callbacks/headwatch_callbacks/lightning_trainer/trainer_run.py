"""What the headwatch callbacks of one Trainer share: the record, the trackers, and the time that probes took."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from headwatch.model.architecture import Sizes
from headwatch.page import report
from headwatch.record.owner import State
from headwatch_callbacks.background.passes import BackgroundPasses
from headwatch_callbacks.lightning_trainer.monitored import Monitored
from headwatch_callbacks.lightning_trainer.ranks import ranks_of
from headwatch_callbacks.lightning_trainer.run_folder import folder_of, new_folder
from headwatch_callbacks.lightning_trainer.step_weights import REPLACED
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.training_clock import TrainingClock
from headwatch_callbacks.ranks import Ranks
from headwatch_callbacks.trackers import GuardedTracker, trackers_for
from headwatch_callbacks.trackers.training_recorder import RunIdentity, TrainingRecorder


class Run:
    """Where the results of one Trainer's probes go.

    Attributes:
        folder: the folder of the record; None before it is opened and under `fast_dev_run`, which writes none.
        clock: how long the stage took so far, and for how long of it passes and writing their results held it up.
        stepped: whether the stage took an optimizer step; before, there is no training time to take a share of.
        background: the passes that other processes answer.
        ranks: the processes that train, once the record is open.
        monitored: what other callbacks see of the passes.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.clock = TrainingClock()
        self.stepped = False
        self._trackers: list[GuardedTracker] = []
        self._record: TrainingRecorder | None = None
        self._own: RunIdentity | None = None
        self._trained = False
        self._losses: dict[str, float] = {}
        self._last_loss_step = -1
        self.monitored = Monitored()
        self._owners: dict[str, object] = {}
        self.ranks = Ranks.alone()
        self.background = BackgroundPasses(self.write, self.note, _warn)

    def open(
        self, trainer: pl.Trainer, sizes: Sizes, record: Path | None, resumed: RunIdentity | None = None
    ) -> None:
        """Open the record and the trackers; does nothing while they are open.

        Args:
            trainer: the trainer, at the start of a stage.
            sizes: the model's.
            record: the record's folder; None = that of `resumed`, or a new one under the trainer's `default_root_dir`.
            resumed: the run that the checkpoint is of.

        Raises:
            ValueError: another run trains into the record, or the record is that of another run.
        """
        if self.clock.running:
            return
        self.clock.start()
        self.stepped = False
        self.ranks = ranks_of(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self.folder = self.ranks.from_first(lambda: self._open_record(trainer, sizes, record, resumed))
        if trainer.is_global_zero:
            self._trackers = trackers_for(trainer)

    def _open_record(
        self, trainer: pl.Trainer, sizes: Sizes, record: Path | None, resumed: RunIdentity | None
    ) -> Path:
        training = trainer.state.fn == "fit"
        opened = self._training_record if training else self._evaluation_record
        self._record = opened(trainer, sizes, record, resumed)
        return self._record.folder

    def _training_record(
        self, trainer: pl.Trainer, sizes: Sizes, record: Path | None, resumed: RunIdentity | None
    ) -> TrainingRecorder:
        fresh = trainer.global_step == 0 and resumed is None
        # A validation before the training may have made the record; what an earlier fit left makes room for a new one.
        known = resumed or (None if fresh and self._trained else self._own)
        moved = None if resumed is None else folder_of(resumed, trainer)
        folder = record or moved or self.folder or new_folder(trainer)
        opened = TrainingRecorder(
            folder, sizes, goes_on=not fresh or known is not None, run=None if known is None else known.id
        )
        if resumed is not None and opened.identity.id != resumed.id:
            opened.note("info", f"training goes on from a checkpoint of the run in {resumed.folder}")
        self._own, self._trained = opened.identity, True
        return opened

    def _evaluation_record(
        self, trainer: pl.Trainer, sizes: Sizes, record: Path | None, resumed: RunIdentity | None
    ) -> TrainingRecorder:
        folder = self.folder or record or new_folder(trainer)
        made_here = not (folder / "run.json").exists()
        opened = TrainingRecorder(folder, sizes, alone=False)
        self._own = opened.identity if made_here else self._own
        return opened

    @property
    def identity(self) -> RunIdentity | None:
        """Which run this is, for its checkpoints; None where no record is open, and on other ranks than the first."""
        return None if self._record is None else self._record.identity

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
        if self._record is not None:
            self._record.write(counted)
        for tracker in self._trackers:
            tracker.write(counted)

    def write_replaced(self, result: ProbeResult) -> None:
        """Give on a result of weights that a callback has put in the place of the step's, as a series of its own."""
        label = f"{result.label}/{REPLACED}"
        message = (
            f"the pass of {result.label} at step {result.step} is of weights that a callback has put in the place of"
            f" the step's, such as averages: it is in the series {label}"
        )
        self.note("info", message)
        rank_zero_info(f"headwatch: {message}")
        self.write(replace(result, label=label))

    def alive(self) -> None:
        """Show other machines, between two writes, that the training goes on."""
        if self._record is not None:
            self._record.alive()

    def note(self, level: str, message: str) -> None:
        """Write something into the record that its reader should know."""
        if self._record is not None:
            self._record.note(level, message)

    def losses(self, trainer: pl.Trainer, step: int, outputs: Any) -> None:
        """Write what the training logged with `loss` in its name, or else its step's own loss, into the record."""
        if self._record is None or step == self._last_loss_step:
            return
        self._last_loss_step = step
        found = {
            name: value.item()
            for name, value in trainer.callback_metrics.items()
            if "loss" in name and name not in self.monitored.names
        }
        if not found and isinstance(outputs, Mapping) and "loss" in outputs:
            found = {"loss": outputs["loss"].item() * trainer.accumulate_grad_batches}
        # Lightning keeps the last validation's loss until the next one: written once, not at each step.
        changed = {name: value for name, value in found.items() if self._losses.get(name) != value}
        self._losses |= changed
        if changed:
            self._record.scalars(step, changed)

    @property
    def share(self) -> float:
        """The share of the stage's wall time that the probes took, 0 to 1."""
        return self.clock.held_up / max(self.clock.wall, 1e-9)

    def tell(self) -> None:
        """Say where the record is, and what share of the time passes took."""
        if self.folder is not None:
            rank_zero_info(
                f"headwatch: probes took {self.share:.1%} of {self.clock.wall:.0f} s; the record is in {self.folder}, "
                f"see it with: headwatch report {self.folder}"
            )

    def close(self, state: State = "finished") -> None:
        """Let every tracker send what comes at the end, with the run's report, and close the record.

        The other processes wait for that, unless this one was interrupted, of which they may know nothing.

        Args:
            state: `interrupted` where the stage did not come to its end.
        """
        self.clock.stop()
        try:
            if state == "finished":
                self.ranks.from_first(lambda: self._send_end(state))
            else:
                self._send_end(state)
        finally:
            self.ranks.close()
            self.ranks = Ranks.alone()

    def _send_end(self, state: State) -> None:
        self.background.close()
        written = self._write_report() if self._trackers else None
        for tracker in self._trackers:
            tracker.finish(written)
        self._trackers = []
        if self._record is not None:
            self._record.close(state)
        self._record = None

    def _write_report(self) -> Path | None:
        assert self.folder is not None
        try:
            return report([self.folder], self.folder / "report.html")
        except Exception as error:  # the training is over and must not be lost for the sake of a page
            rank_zero_warn(
                f"headwatch could not write a report of {self.folder}: {type(error).__name__}: {error}"
            )
            return None


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
