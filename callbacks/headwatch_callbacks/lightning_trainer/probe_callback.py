"""The base of every probe: when it runs, how it leaves no trace, and what happens when it fails.

A probe pass costs what its question costs (`headwatch.ablation`, `headwatch.patching`,
`headwatch.scores.attention_patterns`) and well under a millisecond around it; between passes a callback only
compares step numbers.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch.effects import Effects
from headwatch.model.find import find_gpt2
from headwatch.model.gpt2 import layout
from headwatch.prompts.pairs import PromptPairs
from headwatch_callbacks.checkpoints.load import saved_step
from headwatch_callbacks.lightning_trainer.isolation import keeping_rng, watching
from headwatch_callbacks.lightning_trainer.progress import PassProgress
from headwatch_callbacks.lightning_trainer.ranks import check_strategy, from_rank_zero
from headwatch_callbacks.lightning_trainer.trainer_run import Run, run_of
from headwatch_callbacks.questions.result import AttentionFrame, ProbeResult
from headwatch_callbacks.questions.schedule import Schedule, checkpoint_step, loss_step


@dataclass(frozen=True)
class Findings:
    """What one pass found; the fields are those of `ProbeResult`."""

    effects: Effects | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    frame: AttentionFrame | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    pairs: PromptPairs | None = None


class TrainingOptions(TypedDict, total=False):
    """The arguments that every probe takes; `ProbeCallback` says what they mean."""

    every_n_train_steps: int | None
    every_n_epochs: int | None
    on_validation: bool
    log_spaced: int | None
    at_end: bool
    model: str | None
    record: str | Path | None
    name: str | None


class ProbeOptions(TrainingOptions, total=False):
    """The arguments of a probe that can look at an untrained model too."""

    before_first: bool


class ProbeCallback(pl.Callback, ABC):
    """Runs a question on the training run's own model, on a schedule, without changing the training.

    In `trainer.fit` a probe runs on its schedule. In `trainer.validate` and `trainer.test` it runs once, after the
    last batch, and its result stands at the step of the checkpoint. A pass that raises is warned about once, and
    training goes on; arguments and files that can't be used stop the run before its first step.

    Args:
        every_n_train_steps: run after every n-th optimizer step.
        every_n_epochs: run at the end of every n-th epoch.
        on_validation: run with every validation of the run.
        log_spaced: run so many times, at steps evenly spaced on a logarithmic axis.
        before_first: run before the first step.
        at_end: run at the end.
        model: where the GPT-2 is in the LightningModule, such as `net.gpt`; needed where it holds several.
        record: the folder of the run's record, the same for all probes of a trainer; by default a new one in
            `headwatch_runs` under the trainer's `default_root_dir`.
        name: what tells this probe from another one that asks the same question, such as the prompts' name.

    Attributes:
        seconds: wall time that this callback's passes took in the current or last stage.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    probe: ClassVar[str]

    def __init__(
        self,
        *,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
        on_validation: bool = False,
        log_spaced: int | None = None,
        before_first: bool = True,
        at_end: bool = True,
        model: str | None = None,
        record: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        self.schedule = Schedule(
            every_n_train_steps, every_n_epochs, on_validation, log_spaced, before_first, at_end
        )
        self.model = model
        self.record = None if record is None else Path(record)
        self.name = name
        self.seconds = 0.0
        self._gpt2: GPT2LMHeadModel | None = None
        self._steps_seen = 0
        self._log_spaced: tuple[int, ...] = ()
        self._probed_after: int | None = None
        self._checkpoint_step: int | None = None
        self._failed = False

    @property
    @abstractmethod
    def question(self) -> str:
        """What is asked, such as `ablation/z/mean/loss`."""

    @abstractmethod
    def measure(self, model: GPT2LMHeadModel, progress: PassProgress) -> Findings:
        """Ask it; runs on rank 0, in evaluation mode, without gradients."""

    def prepare(self, model: GPT2LMHeadModel) -> None:
        """Read what passes need, and refuse what they can't use, before the first step."""

    def gather(self, trainer: pl.Trainer) -> None:
        """What all ranks must do together before rank 0 measures."""

    def release(self) -> None:
        """Take every hook off the model; called at the end and after an exception."""

    @property
    def label(self) -> str:
        """The name of this probe's series: its question, and its name where it has one."""
        return self.question if self.name is None else f"{self.question}/{self.name}"

    @property
    def state_key(self) -> str:
        """What tells this callback's state in a checkpoint from another's; Lightning refuses two alike."""
        return self._generate_state_key(label=self.label)

    def state_dict(self) -> dict[str, Any]:
        """How far this probe got: numbers of optimizer steps."""
        return {"probed_after": self._probed_after}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there: what was probed before the checkpoint is not probed again."""
        self._probed_after = state_dict["probed_after"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the step at which an evaluated checkpoint stands."""
        self._checkpoint_step = checkpoint_step(checkpoint)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what could never work."""
        check_strategy(trainer)
        self.seconds, self._checkpoint_step, self._failed = 0.0, None, False
        _record_folder(trainer)
        if stage == "fit":
            self.schedule.check(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the record, and probe the untrained model."""
        self._steps_seen = trainer.global_step
        if self.schedule.log_spaced is not None:
            self._log_spaced = self.schedule.log_spaced_steps(trainer.estimated_stepping_batches)
        self._begin(trainer, pl_module)
        if self.schedule.before_first and trainer.global_step == 0:
            self._pass(trainer, pl_module, step=0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe after an optimizer step that is due; a micro-batch that took no step is passed by."""
        before, self._steps_seen = self._steps_seen, trainer.global_step
        if trainer.global_step == before:
            return
        step = loss_step(trainer, batch_over=False)
        due = self.schedule.due_after_step(before, trainer.global_step, self._log_spaced)
        if due or trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            with keeping_rng():
                run_of(trainer).losses(trainer, step, outputs)
        if due:
            self._pass(trainer, pl_module, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe after an epoch that is due."""
        if self.schedule.due_after_epoch(trainer.current_epoch + 1):
            self._pass(trainer, pl_module, loss_step(trainer, batch_over=True))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe with a validation of the run, or probe the checkpoint that is validated."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            self.evaluate(trainer, pl_module)
        elif self.schedule.on_validation:
            self._pass(trainer, pl_module, loss_step(trainer, batch_over=False))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe the checkpoint that is tested."""
        self.evaluate(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe the trained model."""
        if self.schedule.at_end and self._probed_after != trainer.global_step:
            self._pass(trainer, pl_module, loss_step(trainer, batch_over=True))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say where the record is."""
        run = run_of(trainer)
        run.stop_clock()
        if self is _siblings(trainer)[0] and run.folder is not None:
            rank_zero_info(
                f"headwatch: probes took {run.share:.1%} of {run.wall:.0f} s; the record is in {run.folder}, "
                f"see it with: headwatch report {run.folder}"
            )

    def evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The one pass of a `trainer.validate` or `trainer.test`, at the step of the checkpoint."""
        self._begin(trainer, pl_module)
        self._pass(trainer, pl_module, self._evaluated_step(trainer))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the record."""
        self._end(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the record; Lightning calls no `teardown` after an exception."""
        self._end(trainer)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with keeping_rng(), self._timed(run_of(trainer)):
            self._gpt2 = find_gpt2(pl_module, self.model)
            self.prepare(self._gpt2)
            run_of(trainer).open(trainer, layout(self._gpt2), _record_folder(trainer))

    def _end(self, trainer: pl.Trainer) -> None:
        self.release()
        self._gpt2 = None
        if self is _siblings(trainer)[-1]:
            with keeping_rng():
                run_of(trainer).close()

    def _evaluated_step(self, trainer: pl.Trainer) -> int:
        if self._checkpoint_step is None and trainer.ckpt_path is not None:
            # Lightning shows callbacks no checkpoint that was saved without their states.
            saved = from_rank_zero(trainer, lambda: saved_step(str(trainer.ckpt_path)))
            return max((saved or 0) - 1, 0)
        return loss_step(trainer, batch_over=True) if self._checkpoint_step is None else self._checkpoint_step

    def _pass(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        self._probed_after = trainer.global_step
        with keeping_rng(), self._timed(run_of(trainer)):
            self.gather(trainer)
            summary = from_rank_zero(trainer, lambda: self._measure_and_write(trainer, pl_module, step))
            run_of(trainer).monitor(trainer, self.label, summary)

    def _measure_and_write(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int
    ) -> Mapping[str, float]:
        """The pass on rank 0: its summary, empty where it failed."""
        assert self._gpt2 is not None
        started = time.perf_counter()
        try:
            with watching(trainer, pl_module), PassProgress(trainer, self.label) as progress:
                found = self.measure(self._gpt2, progress)
        except Exception as error:
            self._warn_once(trainer, step, error)
            return {}
        self._write(trainer, step, found, time.perf_counter() - started)
        return found.scalars

    def _write(self, trainer: pl.Trainer, step: int, found: Findings, seconds: float) -> None:
        result = ProbeResult(self.probe, self.label, step, trainer.current_epoch, seconds, **vars(found))
        run_of(trainer).write(result)

    def _warn_once(self, trainer: pl.Trainer, step: int, error: Exception) -> None:
        message = f"the probe {self.label} failed after step {step}: {type(error).__name__}: {error}"
        run_of(trainer).note("warning", message)
        if not self._failed:
            self._failed = True
            rank_zero_warn(
                f"{message}; training goes on, and later failures of this probe are not repeated here"
            )

    @contextmanager
    def _timed(self, run: Run) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.seconds += seconds
        run.seconds += seconds


def summary_of(effects: Effects) -> dict[str, float]:
    """The metric on the clean and (if they were run) the corrupted prompts, and the largest effect in size."""
    summary = {"clean": effects.clean.mean().item(), "largest_effect": effects.mean.abs().max().item()}
    if effects.corrupted is not None:
        summary["corrupted"] = effects.corrupted.mean().item()
    return summary


def _siblings(trainer: pl.Trainer) -> list[ProbeCallback]:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, ProbeCallback)]


def _record_folder(trainer: pl.Trainer) -> Path | None:
    folders = sorted({probe.record for probe in _siblings(trainer) if probe.record is not None})
    if len(folders) > 1:
        raise ValueError(
            f"the probes of one trainer share a record, and record= names {' and '.join(map(str, folders))}"
        )
    return folders[0] if folders else None
