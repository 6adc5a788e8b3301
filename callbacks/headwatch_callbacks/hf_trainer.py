"""The same probes for `transformers.Trainer`.

`Trainer(..., callbacks=[HeadwatchCallback([HeadAblation("pairs.jsonl", every_n_train_steps=100)], "runs/mine")])`:
each probe keeps its own schedule, and the record, the page and wandb show the same as under Lightning. A result
after step k stands at x = k, where this Trainer writes that step's loss.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from headwatch.model.architecture import Architecture
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture
from headwatch.page import report
from headwatch_callbacks.background.device import check_device
from headwatch_callbacks.background.messages import Precision
from headwatch_callbacks.background.passes import BackgroundPasses, Taken
from headwatch_callbacks.lightning_trainer.budget import TrainingBudget
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
from headwatch_callbacks.questions.pass_budget import PassBudget
from headwatch_callbacks.questions.question import Moment
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.run_pass import run_pass
from headwatch_callbacks.questions.training_clock import TrainingClock
from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.run_recorder import RunRecorder
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.wandb import WandbRun, WandbTracker


class HeadwatchCallback(TrainerCallback):
    """Runs probes on the model that a `transformers.Trainer` trains, without changing the training.

    Args:
        probes: `HeadAblation`, `ActivationPatching`, `AttentionMaps` or any question as a `ProbeCallback`, each with
            its schedule, in the `background` or within `max_overhead` where it says so.
        record: the folder of the run's record, and of the report at the end; an existing one is added to.
        trackers: what wandb is sent beyond one map a pass, where the Trainer reports to it.

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
        self._last: dict[str, int] = {}
        self._failed: set[str] = set()
        self._background = BackgroundPasses(self._write, self._note, warnings.warn)
        self._training = False
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
            ValueError: a sharded training, prompts that can't be used, or alerts of a Trainer without wandb.
        """
        if args.fsdp or args.deepspeed:
            raise ValueError("headwatch can't probe a sharded model (fsdp, deepspeed): use headwatch eval")
        if self.settings.alerts and "wandb" not in (args.report_to or []):
            raise ValueError(
                "Trackers(alerts=True) has no effect: only wandb sends alerts; add it to report_to"
            )
        for probe in self.probes:
            check_device(probe.worker_device)
        if not state.is_world_process_zero:
            return
        self._training, self._stepped, self._spent = True, False, {}
        self._clock.start()
        with preserve_rng(), self._clock.holding_up():
            self._network = find_architecture(kwargs["model"])
            for probe in self.probes:
                probe.question.prepare(self._network)
            self._check_labels([probe.question.labels(self._network.sizes) for probe in self.probes])
            self._record = RunRecorder(self.folder, self._network.sizes)
            self._trackers = [GuardedTracker(self._record, "the record")]
            if "wandb" in (args.report_to or []):
                self._trackers.append(
                    GuardedTracker(WandbTracker(WandbRun(), self.settings, "train/global_step"), "wandb")
                )
        with preserve_rng(), self._clock.holding_up():
            self._keep_budgets(state)
        first = [probe for probe in self.probes if probe.schedule.before_first and state.global_step == 0]
        self._run(first, state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe after an optimizer step that is due."""
        self._stepped = True
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
        """Probe with an evaluation of the run."""
        self._run([probe for probe in self.probes if probe.schedule.on_validation], state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the losses that the Trainer logs beside the probes in the record."""
        losses = {name: float(value) for name, value in (kwargs.get("logs") or {}).items() if "loss" in name}
        for tracker in self._trackers[:1] if losses else ():
            tracker.attempt(partial(self._record.scalars, state.global_step, losses))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Probe the trained model, write the report, and close."""
        self._training = False
        with preserve_rng():
            self._background.finish()
        self._run([probe for probe in self.probes if probe.schedule.at_end], state)
        if not self._trackers:
            return
        self._clock.stop()
        with preserve_rng():
            for budget in self._budgets.values():
                if budget.passes.told_at_end is not None:
                    self._note("info", budget.passes.told_at_end)
            record, *trackers = self._trackers
            record.finish()
            written = self._report()
            for tracker in trackers:
                tracker.finish(written)
        self._trackers, self._network, self._budgets = [], None, {}

    def _run(self, probes: Sequence[ProbeCallback], state: TrainerState) -> None:
        """One pass of each probe that has none at this step yet; on the first process only."""
        for probe in probes if self._network is not None else ():
            if self._last.get(probe.label) == state.global_step:
                continue
            held_up = self._clock.held_up
            with preserve_rng(), self._clock.holding_up():
                taken = self._ask_in_background(probe, _moment(state))
                if taken is Taken.NOT_HERE:
                    self._pass(probe, _moment(state))
            self._spent[probe.label] = self._spent.get(probe.label, 0.0) + self._clock.held_up - held_up
            if taken is not Taken.SKIPPED:
                self._last[probe.label] = state.global_step

    def _ask_in_background(self, probe: ProbeCallback, at: Moment) -> Taken:
        if probe.worker_device is None or not self._training:
            return Taken.NOT_HERE
        assert self._network is not None
        return self._background.ask(
            probe.question,
            self._network.model,
            at,
            device=probe.worker_device,
            precision=Precision.current(self._network.device),
            failed=partial(self._warn_once, probe.label),
        )

    def _pass(self, probe: ProbeCallback, at: Moment) -> None:
        assert self._network is not None
        budget, question = self._budgets.get(probe.label), probe.question
        if budget is not None:
            spent, ended = self._spent.get(probe.label, 0.0), not self._training
            plan = budget.plan_within(self._clock, steps=at.step, spent=spent, ended=ended, at=at)
            if plan is None:
                return
            question = question.reduced(plan)
        answers = run_pass(
            question,
            self._network.model,
            at,
            self._write,
            within=eval_mode(self._network.model),
            failed=lambda error: self._warn_once(probe.label, repr(error)),
        )
        if budget is not None:
            budget.passes.answered(answers)

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
        for tracker in self._trackers:
            tracker.write(counted)

    def _note(self, level: str, message: str) -> None:
        self._trackers[0].attempt(partial(self._record.note, level, message))

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


def _moment(state: TrainerState) -> Moment:
    return Moment(state.global_step, int(state.epoch or 0))
