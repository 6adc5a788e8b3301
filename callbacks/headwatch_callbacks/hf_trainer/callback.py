"""What a `transformers.Trainer` calls: when each probe is asked, of which weights, and where its answers go."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from headwatch.model.architecture import Architecture, Sizes
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture
from headwatch.page import report
from headwatch_callbacks.background.device import check_device
from headwatch_callbacks.background.messages import Precision
from headwatch_callbacks.background.passes import BackgroundPasses, Taken
from headwatch_callbacks.checkpoints.fingerprint import fingerprint
from headwatch_callbacks.hf_trainer.precision import trainers_precision
from headwatch_callbacks.hf_trainer.trackers import check_alerts, trackers_of
from headwatch_callbacks.hf_trainer.weights import best_step, is_sharded, loaded_step
from headwatch_callbacks.lightning_trainer.budget import TrainingBudget
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
from headwatch_callbacks.questions.pass_budget import PassBudget
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.training_clock import TrainingClock
from headwatch_callbacks.ranks import Ranks, run_shared_pass
from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.training_recorder import RunIdentity, TrainingRecorder

_IN_STATE = "headwatch"  # in a checkpoint's `stateful_callbacks`: the run that it is of


class HeadwatchCallback(TrainerCallback):
    """Runs probes on the model that a `transformers.Trainer` trains, without changing the training.

    Outside `trainer.train()`, `trainer.evaluate()` asks each probe once, and the answer stands at the step of the
    weights; it is not asked again of weights that it has answered for. Several processes (torchrun) share passes out,
    and the first one writes.

    Args:
        probes: `HeadAblation`, `ActivationPatching`, `AttentionMaps` or any question as a `ProbeCallback`, each with
            its schedule, in the `background` or within `max_overhead` where it says so.
        record: the folder of the run's record, and of the report at the end. A training from a checkpoint goes on
            with the record that is there; a new one needs a folder of its own.
        trackers: what wandb and TensorBoard are sent beyond one map a pass, where the Trainer reports to them.

    Raises:
        ValueError: a probe of another kind, or two probes with one label.
    """

    def __init__(
        self, probes: Sequence[ProbeCallback], record: str | Path, trackers: Trackers | None = None
    ) -> None:
        for probe in probes:
            if not (isinstance(probe, ProbeCallback) and probe.asks_frozen_models):
                raise ValueError(f"{type(probe).__name__} can't run under transformers.Trainer")
        self._check_labels([(probe.label,) for probe in probes])
        self.probes, self.folder = list(probes), Path(record)
        self.settings = trackers or Trackers()
        self._trackers: list[GuardedTracker] = []
        self._network: Architecture | None = None
        self._trained: nn.Module = nn.Module()  # what the network is found in
        self._answered: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._record: TrainingRecorder | None = None
        self._made_here: RunIdentity | None = None
        self._step_of_weights: int | None = None
        self._failed: set[str] = set()
        self._background = BackgroundPasses(self._write, self._note, warnings.warn)
        self._training = False
        self._ranks = Ranks.alone()
        self._clock = TrainingClock()
        self._stepped = False
        self._budgets: dict[str, TrainingBudget] = {}
        self._spent: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"HeadwatchCallback({self.probes}, {str(self.folder)!r})"

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the record, and probe the untrained model.

        Raises:
            ValueError: a sharded training, prompts that can't be used, alerts of a Trainer without wandb, or a new
                training into the record of another one.
        """
        if is_sharded(args):
            raise ValueError("headwatch can't probe a sharded model (fsdp, deepspeed): use headwatch eval")
        check_alerts(args, self.settings)
        for probe in self.probes:
            check_device(probe.worker_device)
        self._stepped, self._spent, self._step_of_weights = False, {}, None
        self._open(args, kwargs["model"], lambda sizes: self._training_record(state, sizes))
        self._training = True
        assert self._network is not None
        with preserve_rng(), self._clock.holding_up(), trainers_precision(self._network.model):
            self._keep_budgets(state)
        first = [probe for probe in self.probes if probe.schedule.before_first and state.global_step == 0]
        self._run(first, state)

    def _training_record(self, state: TrainerState, sizes: Sizes) -> TrainingRecorder:
        """The record of the run that the checkpoint is of, or a new one.

        An evaluation before the training may have made it.
        """
        kept: Any = state.stateful_callbacks
        known = RunIdentity.in_state(kept.get(_IN_STATE, {}) if state.global_step else {}) or self._made_here
        goes_on, run = state.global_step > 0 or known is not None, None if known is None else known.id
        record = TrainingRecorder(self.folder, sizes, goes_on=goes_on, run=run)
        kept[_IN_STATE] = record.identity.state()
        self._answered = self._answered if goes_on else {}
        self._made_here = None
        return record

    def _open(
        self, args: TrainingArguments, model: nn.Module, record: Callable[[Sizes], TrainingRecorder]
    ) -> None:
        """Read the questions, in every process, and open the record and the trackers, in the first one."""
        self._clock.start()
        self._ranks = Ranks.of_training(timedelta(seconds=args.ddp_timeout))
        with preserve_rng(), self._clock.holding_up():
            network = find_architecture(model)
            for probe in self.probes:
                probe.question.prepare(network)
            self._check_labels([probe.question.labels(network.sizes) for probe in self.probes])
            self._ranks.from_first(partial(self._open_record, args, network.sizes, record))
        self._network, self._trained = network, model

    def _open_record(
        self, args: TrainingArguments, sizes: Sizes, record: Callable[[Sizes], TrainingRecorder]
    ) -> None:
        if self._record is not None:  # of a training that has ended with an error
            self._record.close("interrupted")
        self._record = record(sizes)
        self._trackers = trackers_of(args, self.settings, self.folder)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe after an optimizer step that is due."""
        self._stepped = True
        if self._record is not None:
            self._record.alive()
        if self._background.has_answer():
            with preserve_rng():
                self._background.collect()
        step = state.global_step
        due = [
            probe
            for probe in self.probes
            if probe.schedule.due_after_step(step - 1, step, probe.schedule.log_spaced_steps(state.max_steps))
        ]
        self._run(due, state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe after an epoch that is due."""
        epochs = round(state.epoch or 0)
        self._run([probe for probe in self.probes if probe.schedule.due_after_epoch(epochs)], state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe with an evaluation of the run; outside a training, probe the weights that are evaluated."""
        if self._network is not None:
            self._run([probe for probe in self.probes if probe.schedule.on_validation], state)
        elif is_sharded(args):
            warnings.warn(
                "headwatch can't probe a sharded model (fsdp, deepspeed): use headwatch eval", stacklevel=2
            )
        else:
            self._evaluate(args, state, kwargs["model"])

    def _evaluate(self, args: TrainingArguments, state: TrainerState, model: nn.Module) -> None:
        if state.global_step == 0:
            self._step_of_weights = loaded_step(model)
        self._stepped = False
        self._open(args, model, self._evaluation_record)
        self._run(self.probes, state)
        self._close()

    def _evaluation_record(self, sizes: Sizes) -> TrainingRecorder:
        is_new = not (self.folder / "run.json").exists()
        record = TrainingRecorder(self.folder, sizes, alone=False)
        if is_new:
            self._made_here, self._answered = record.identity, {}
        return record

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the losses that the Trainer logs beside the probes in the record."""
        losses = {name: float(value) for name, value in (kwargs.get("logs") or {}).items() if "loss" in name}
        if losses and self._record is not None:
            self._record.scalars(state.global_step, losses)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe the trained model, write the report, and close."""
        if self._network is None:
            return
        self._training = False
        with preserve_rng():
            self._ranks.from_first(self._background.finish)
        self._step_of_weights = best_step(args, state)
        self._run([probe for probe in self.probes if probe.schedule.at_end], state)
        self._close()

    def _close(self) -> None:
        self._clock.stop()
        with preserve_rng():
            self._ranks.from_first(self._close_record)
            self._ranks.close()
        self._network, self._budgets, self._ranks = None, {}, Ranks.alone()

    def _close_record(self) -> None:
        for budget in self._budgets.values():
            if budget.passes.told_at_end is not None:
                self._note("info", budget.passes.told_at_end)
        assert self._record is not None
        self._record.finish()
        written = self._report()
        for tracker in self._trackers:
            tracker.finish(written)
        self._trackers, self._record = [], None

    def _run(self, probes: Sequence[ProbeCallback], state: TrainerState) -> None:
        """One pass of each probe that has not answered for these weights."""
        if self._network is None or not probes:
            return
        at = self._moment(state)
        answer = (at.step, fingerprint(self._network.model))
        open_ones = [
            number for number, probe in enumerate(probes) if self._answered.get(probe.label) != answer
        ]
        for probe in [probes[number] for number in self._ranks.from_first(lambda: open_ones)]:
            held_up = self._clock.held_up
            with preserve_rng(), self._clock.holding_up(), trainers_precision(self._network.model):
                taken = self._ask_in_background(probe, at)
                if taken is Taken.NOT_HERE:
                    self._pass(probe, at, steps=state.global_step)
            self._spent[probe.label] = self._spent.get(probe.label, 0.0) + self._clock.held_up - held_up
            if taken is not Taken.SKIPPED:
                self._answered[probe.label] = answer

    def _ask_in_background(self, probe: ProbeCallback, at: Moment) -> Taken:
        network, device = self._network, probe.worker_device
        if device is None or not self._training:
            return Taken.NOT_HERE
        assert network is not None
        precision = Precision.current(network.device)
        return self._ranks.from_first(
            lambda: self._background.ask(
                probe.question,
                network.model,
                at,
                device=device,
                precision=precision,
                failed=partial(self._warn_once, probe.label),
            )
        )

    def _pass(self, probe: ProbeCallback, at: Moment, *, steps: int) -> None:
        assert self._network is not None
        budget, question = self._budgets.get(probe.label), self._affordable(probe, at, steps)
        if question is None:
            return
        found = run_shared_pass(
            self._ranks,
            question,
            self._network.model,
            at,
            self._write,
            within=eval_mode(self._trained),
            failed=lambda error: self._warn_once(probe.label, repr(error)),
        )
        if budget is not None:
            budget.passes.answered(found.answers, found.n_ranks)

    def _affordable(self, probe: ProbeCallback, at: Moment, steps: int) -> Question | None:
        """As much of the question as the training can pay for, by the first process's clock; None for no pass."""
        budget = self._budgets.get(probe.label)
        if budget is None:
            return probe.question
        spent, ended = self._spent.get(probe.label, 0.0), not self._training
        return budget.ask_within(
            probe.question, self._ranks, self._clock, steps=steps, spent=spent, ended=ended, at=at
        )

    def _keep_budgets(self, state: TrainerState) -> None:
        """Plan the passes of probes with a `max_overhead` by what they may take, from now on."""
        assert self._network is not None
        sharing = [probe for probe in self.probes if probe.max_overhead is not None]
        for probe in sharing:
            assert probe.max_overhead is not None
            passes = PassBudget(probe.question, self._network, probe.max_overhead, len(sharing))
            steps = probe.schedule.log_spaced_steps(state.max_steps)
            self._budgets[probe.label] = TrainingBudget(passes, probe.schedule, steps, state.max_steps)
            self._note("info", passes.told_at_start)

    def _check_labels(self, of_probes: Sequence[tuple[str, ...]]) -> None:
        """Refuse two probes that write one series."""
        labels = [label for labels in of_probes for label in labels]
        if len(set(labels)) < len(labels):
            raise ValueError(f"two probes write one series ({', '.join(labels)}): tell them apart with name=")

    def _write(self, result: ProbeResult) -> None:
        counted = replace(result, overhead=self._clock.overhead if self._stepped else None)
        if self._record is not None:
            self._record.write(counted)
        for tracker in self._trackers:
            tracker.write(counted)

    def _note(self, level: str, message: str) -> None:
        if self._record is not None:
            self._record.note(level, message)

    def _warn_once(self, label: str, error: str) -> None:
        if label not in self._failed:
            self._failed.add(label)
            warnings.warn(f"the probe {label} failed with {error}; training goes on", stacklevel=2)

    def _report(self) -> Path | None:
        try:
            return report([self.folder], self.folder / "report.html")
        except Exception as error:  # the training is done and must not be lost for the sake of a page
            self._warn_once("report", repr(error))
            return None

    def _moment(self, state: TrainerState) -> Moment:
        """When this is, by the weights that the model has."""
        step = state.global_step if self._step_of_weights is None else self._step_of_weights
        return Moment(step, int(state.epoch or 0))
