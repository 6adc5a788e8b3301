"""A question on a schedule: when it is asked of a model that Lightning trains, without a trace, and what if it fails.

A pass costs what its question costs (`headwatch.ablation`, `headwatch.patching`,
`headwatch.scores.attention_patterns`) and well under a millisecond around it; between passes a callback only
compares step numbers.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import nn

from headwatch.model.architecture import Architecture
from headwatch.model.find import find_architecture
from headwatch.record.owner import State
from headwatch.record.steps import BEFORE_TRAINING
from headwatch_callbacks.background.device import background_device, check_device
from headwatch_callbacks.background.passes import Taken
from headwatch_callbacks.lightning_trainer.budget import TrainingBudget
from headwatch_callbacks.lightning_trainer.in_background import ask_in_background, finish_background
from headwatch_callbacks.lightning_trainer.isolation import eval_without_trace, preserve_rng
from headwatch_callbacks.lightning_trainer.kept_state import KeptState
from headwatch_callbacks.lightning_trainer.progress import PassProgress
from headwatch_callbacks.lightning_trainer.ranks import can_evaluate, check_strategy
from headwatch_callbacks.lightning_trainer.siblings import after_the_others, check_labels, one_record
from headwatch_callbacks.lightning_trainer.step_weights import (
    REPLACED,
    StepWeights,
    on_device,
    validation_may_follow,
)
from headwatch_callbacks.lightning_trainer.steps import evaluated_step, loss_step
from headwatch_callbacks.lightning_trainer.trainer_run import Run, run_of
from headwatch_callbacks.questions.pass_budget import check_max_overhead
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.schedule import Schedule
from headwatch_callbacks.ranks import run_shared_pass

Summaries = Mapping[str, Mapping[str, float]]
_FAST = Plan(n_pairs=2)  # of a `fast_dev_run`


class ProbeCallback(KeptState):
    """Asks a question of the training run's own model, on a schedule, without changing the training.

    In `trainer.fit` it is asked on its schedule. In `trainer.validate` and `trainer.test` it is asked once, after the
    last batch, and its answer stands at the step of the checkpoint. A pass that raises is warned about once, and
    training goes on; arguments and files that can't be used stop the run before its first step.

    Example:
        >>> from headwatch_callbacks.questions import Ablation
        >>> question = Ablation("pairs.jsonl", tokenizer="gpt2", kind="zero", metric="loss")
        >>> trainer = L.Trainer(callbacks=[ProbeCallback(question, every_n_train_steps=100)])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).effects[-1].label
        'ablation/z/zero/loss'

    Args:
        question: what is asked.
        every_n_train_steps: ask after every n-th optimizer step.
        every_n_epochs: ask at the end of every n-th epoch.
        on_validation: ask with every validation of the run.
        log_spaced: ask so many times, at steps evenly spaced on a logarithmic axis.
        before_first: ask before the first step.
        at_end: ask at the end.
        model: where the GPT-2 is in the LightningModule, such as `net.gpt`; needed where it holds several.
        record: the folder of the run's record, the same for all probes of a trainer; by default a new one in
            `headwatch_runs` under the trainer's `default_root_dir`.
        background: True has another process on this machine's cores ask the question of a copy of the weights, or
            `"cuda:1"` on that GPU, while training goes on; see `headwatch_callbacks.background`.
        max_overhead: the share of the training time that passes may take, such as 0.05; probes that name one share it.
            Exact runs become fewer, then pairs, then passes are skipped. None for whole passes, whatever they take.

    Attributes:
        label: what tells this probe from all others of a run; with one metric, the name of its series.
        worker_device: where `background` passes run; None where they run in the training itself.
        seconds: wall time by which this callback held up the current or last stage.
        training_run: which run its record is of, as a checkpoint keeps it; None before one is known.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    asks_frozen_models: ClassVar[bool] = True

    def __init__(
        self,
        question: Question,
        *,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
        on_validation: bool = False,
        log_spaced: int | None = None,
        before_first: bool = True,
        at_end: bool = True,
        model: str | None = None,
        record: str | Path | None = None,
        background: bool | str = False,
        max_overhead: float | None = None,
    ) -> None:
        for name, given in (("background", background), ("max_overhead", max_overhead is not None)):
            if given and not self.asks_frozen_models:
                raise ValueError(
                    f"{name} can't take effect: {type(self).__name__} listens to the training's own backward pass"
                )
        if background and max_overhead is not None:
            raise ValueError(
                "max_overhead can't take effect with background, which holds up the training only for a copy: give one"
            )
        check_max_overhead(max_overhead)
        super().__init__(question.identity)
        self.question = question
        self.schedule = Schedule(
            every_n_train_steps, every_n_epochs, on_validation, log_spaced, before_first, at_end
        )
        self.model = model
        self.record = None if record is None else Path(record)
        self.background, self.max_overhead = background, max_overhead
        self.seconds = 0.0
        self.worker_device = background_device(background)
        self._training = False
        self._network: Architecture | None = None
        self._asked = question
        self._budget: TrainingBudget | None = None
        self._steps_seen = 0
        self._batch_stepped = False
        self._log_spaced: tuple[int, ...] = ()
        self._failed = False
        self._labels: tuple[str, ...] = ()
        self._weights = StepWeights()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([repr(self.label), *self.schedule.chosen])})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what could never work."""
        check_device(self.worker_device)
        check_labels([probe.label for probe in _siblings(trainer)])
        self._told_apart = True
        trainer.callbacks = after_the_others(trainer.callbacks, _siblings(trainer))  # type: ignore[attr-defined]
        self._weights = StepWeights(of_interest=self.asks_frozen_models)
        self.seconds, self._checkpoint_step, self._failed, self.training_run = 0.0, None, False, None
        _record_folder(trainer)
        if stage == "fit":
            check_strategy(trainer, in_background=self.worker_device is not None)
            self.schedule.check(trainer.enable_validation)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the record, and probe the untrained model."""
        self._steps_seen, self._training = trainer.global_step, True
        if self.schedule.log_spaced is not None:
            self._log_spaced = self.schedule.log_spaced_steps(trainer.estimated_stepping_batches)
        self._begin(trainer, pl_module)
        with preserve_rng(), self._timed(run_of(trainer)):
            self._keep_budget(trainer)
            run_of(trainer).monitored.watch(
                trainer, self._labels, in_background=self.worker_device is not None
            )
        if self.schedule.before_first and trainer.global_step == 0:
            self.put_question(trainer, pl_module, step=BEFORE_TRAINING)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe after an optimizer step that is due; a micro-batch that took no step is passed by."""
        self._collect(trainer)
        before, self._steps_seen = self._steps_seen, trainer.global_step
        self._batch_stepped = trainer.global_step != before
        if self.schedule.on_validation and validation_may_follow(trainer, batch_idx):
            self._weights.look(trainer.global_step, self._model)
        if not self._batch_stepped:
            return
        run_of(trainer).stepped = True
        run_of(trainer).alive()
        step = loss_step(trainer, batch_over=False)
        due = self.schedule.due_after_step(before, trainer.global_step, self._log_spaced)
        if due or trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            with preserve_rng():
                run_of(trainer).losses(trainer, step, outputs)
        if due:
            self.put_question(trainer, pl_module, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe after an epoch that is due."""
        self._weights.look(trainer.global_step, self._model)
        if self.schedule.due_after_epoch(trainer.current_epoch + 1):
            self.put_question(trainer, pl_module, loss_step(trainer, batch_over=True))
        self._let_look(trainer, after_epoch=True)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe with a validation of the run, or probe the checkpoint that is validated."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            self._evaluate(trainer, pl_module)
        elif self.schedule.on_validation:
            self.put_question(trainer, pl_module, loss_step(trainer, batch_over=not self._batch_stepped))
        if trainer.state.fn == "fit":
            self._let_look(trainer, after_epoch=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last values again, after `EarlyStopping` has looked."""
        if trainer.state.fn == "fit":
            run_of(trainer).monitored.put_back(trainer)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe the checkpoint that is tested."""
        self._evaluate(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe the trained model, with the weights that other callbacks leave."""
        self._training = False  # what is asked from now on is asked here
        with preserve_rng(), self._timed(run_of(trainer)):
            finish_background(run_of(trainer))
        if self.schedule.at_end and run_of(trainer).ranks.from_first(lambda: self._is_news(trainer)):
            self.put_question(trainer, pl_module, loss_step(trainer, batch_over=True))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Probe again what was changed since the end of the training, and say where the record is."""
        if self.schedule.at_end and run_of(trainer).ranks.from_first(lambda: self._is_news(trainer)):
            with on_device(pl_module, trainer.strategy.root_device):
                self.put_question(trainer, pl_module, loss_step(trainer, batch_over=True))
        if self is _siblings(trainer)[-1]:
            run_of(trainer).clock.stop()
            run_of(trainer).tell()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the record."""
        self._end(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the record; Lightning calls no `teardown` after an exception."""
        self._end(trainer, "interrupted")

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with preserve_rng(), self._timed(run_of(trainer)):
            self._network = find_architecture(pl_module, self.model)
            self.question.prepare(self._network)
            self._asked = self.question.reduced(_FAST) if trainer.fast_dev_run else self.question  # type: ignore[attr-defined]
            self._labels = self.question.labels(self._network.sizes)
            run_of(trainer).claim([*self._labels, *(f"{label}/{REPLACED}" for label in self._labels)], self)
            resumed = next(
                (probe.training_run for probe in _siblings(trainer) if probe.training_run is not None), None
            )
            run_of(trainer).open(trainer, self._network.sizes, _record_folder(trainer), resumed)
            self.training_run = run_of(trainer).identity

    def _keep_budget(self, trainer: pl.Trainer) -> None:
        """Plan passes by what they may take, from now on."""
        if self.max_overhead is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert self._network is not None
        sharing = [probe for probe in _siblings(trainer) if probe.max_overhead is not None]
        self._budget = TrainingBudget.of(
            trainer,
            self._asked,
            self._network,
            max_overhead=self.max_overhead,
            n_probes=len(sharing),
            schedule=self.schedule,
            log_spaced=self._log_spaced,
        )
        run_of(trainer).note("info", self._budget.passes.told_at_start)

    def _end(self, trainer: pl.Trainer, state: State = "finished") -> None:
        with preserve_rng():
            if self._budget is not None and self._budget.passes.told_at_end is not None:
                run_of(trainer).note("info", self._budget.passes.told_at_end)
            self._network, self._training, self._budget = None, False, None
            if self is _siblings(trainer)[-1]:
                run_of(trainer).monitored.end(trainer)
                run_of(trainer).close(state)

    def _evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The one pass of a `trainer.validate` or `trainer.test`, at the step of the checkpoint."""
        if self.asks_frozen_models and can_evaluate(trainer):
            self._begin(trainer, pl_module)
            self.put_question(
                trainer, pl_module, evaluated_step(trainer, self._checkpoint_step, run_of(trainer).ranks)
            )

    def put_question(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Ask the question once, on all ranks, and let each of them know what sums its answers up.

        In the background rank 0 alone copies the weights, nobody waits for the answer, and so no rank hears what sums
        it up.
        """
        with preserve_rng(), self._timed(run_of(trainer)):
            own = trainer.state.fn != "fit" or self._weights.look(trainer.global_step, self._model)
            taken = self._ask_in_background(trainer, step)
            if taken is not Taken.SKIPPED:
                self._probed_after = trainer.global_step
                self._weights.probed()
            found = self._ask(trainer, pl_module, step, own) if taken is Taken.NOT_HERE else {}
            for label, summary in found.items():
                run_of(trainer).monitored.store(trainer, label, summary)
            if taken is Taken.NOT_HERE and not found and self._budget is None:
                run_of(trainer).monitored.lost(trainer, self._labels)

    def _ask(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int, own: bool) -> Summaries:
        """The pass, on all ranks: the summary of each of its series, none where it failed or was skipped."""
        at = Moment(step, trainer.current_epoch)
        question = self._affordable(trainer, at)
        if question is None:
            return {}
        with PassProgress(trainer, self.label) as progress:
            found = run_shared_pass(
                run_of(trainer).ranks,
                question,
                self._model,
                at,
                run_of(trainer).write if own else run_of(trainer).write_replaced,
                within=eval_without_trace(trainer, pl_module),
                progress=progress,
                failed=lambda error: self._warn_once(trainer, step, f"{type(error).__name__}: {error}"),
            )
        if self._budget is not None:
            self._budget.passes.answered(found.answers, found.n_ranks)
        return found.summaries

    @property
    def _model(self) -> nn.Module:
        assert self._network is not None
        return self._network.model

    def _let_look(self, trainer: pl.Trainer, after_epoch: bool) -> None:
        if self is _siblings(trainer)[-1]:
            run_of(trainer).monitored.before_check(trainer, after_epoch)

    def _is_news(self, trainer: pl.Trainer) -> bool:
        """Whether a pass now would be of other weights than the last one."""
        return self._probed_after != trainer.global_step or self._weights.changed_since(self._model)

    def _affordable(self, trainer: pl.Trainer, at: Moment) -> Question | None:
        """As much of the question as the training can pay for, by rank 0's clock."""
        if self._budget is None:
            return self._asked
        run, steps, ended = run_of(trainer), trainer.global_step, not self._training
        return self._budget.ask_within(
            self._asked, run.ranks, run.clock, steps=steps, spent=self.seconds, ended=ended, at=at
        )

    def _ask_in_background(self, trainer: pl.Trainer, step: int) -> Taken:
        if self.worker_device is None or not self._training:
            return Taken.NOT_HERE
        return ask_in_background(
            trainer,
            run_of(trainer),
            self._asked,
            self._model,
            Moment(step, trainer.current_epoch),
            device=self.worker_device,
            failed=lambda error: self._warn_once(trainer, step, error),
        )

    def _collect(self, trainer: pl.Trainer) -> None:
        """Hand on what came of passes in the background."""
        background = run_of(trainer).background
        if background.has_answer():
            with preserve_rng(), self._timed(run_of(trainer)):
                background.collect()

    def _warn_once(self, trainer: pl.Trainer, step: int, error: str) -> None:
        when = "before training" if step == BEFORE_TRAINING else f"after step {step}"
        message = f"the probe {self.label} failed {when}: {error}"
        run_of(trainer).note("warning", message)
        if not self._failed:
            self._failed = True
            rank_zero_warn(
                f"{message}; training goes on, and later failures of this probe are not repeated here"
            )

    @contextmanager
    def _timed(self, run: Run) -> Iterator[None]:
        started = time.perf_counter()
        with run.clock.holding_up():
            yield
        self.seconds += time.perf_counter() - started


def _siblings(trainer: pl.Trainer) -> list[ProbeCallback]:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, ProbeCallback)]


def _record_folder(trainer: pl.Trainer) -> Path | None:
    return one_record(probe.record for probe in _siblings(trainer))
