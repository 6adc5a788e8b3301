"""What a trainer tells a probe's budget: how far the training is, and how long it took so far."""

from dataclasses import dataclass

import lightning.pytorch as pl

from headwatch.model.architecture import Architecture
from headwatch_callbacks.questions.overhead_controller import Situation
from headwatch_callbacks.questions.pass_budget import PassBudget
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.schedule import Schedule
from headwatch_callbacks.questions.training_clock import TrainingClock
from headwatch_callbacks.ranks import Ranks


@dataclass(frozen=True)
class TrainingBudget:
    """One probe's budget in one training.

    Attributes:
        passes: what plans the passes.
        schedule: when they are due.
        log_spaced: after which steps, where they are spaced so.
        last_step: how many optimizer steps the training takes; None where nobody knows.
    """

    passes: PassBudget
    schedule: Schedule
    log_spaced: tuple[int, ...]
    last_step: int | None

    @classmethod
    def of(
        cls,
        trainer: pl.Trainer,
        question: Question,
        network: Architecture,
        *,
        max_overhead: float,
        n_probes: int,
        schedule: Schedule,
        log_spaced: tuple[int, ...],
    ) -> "TrainingBudget":
        """That of a `fit` which begins; on every rank."""
        steps = trainer.estimated_stepping_batches
        last_step = int(steps) if steps != float("inf") else None
        passes = PassBudget(question, network, max_overhead, n_probes)
        return cls(passes, schedule, log_spaced, last_step)

    def ask_within(
        self,
        question: Question,
        ranks: Ranks,
        clock: TrainingClock,
        *,
        steps: int,
        spent: float,
        ended: bool,
        at: Moment,
    ) -> Question | None:
        """As much of the question as the training can pay for, by the first process's clock; None for no pass.

        Args:
            question: the question.
            ranks: the processes of the training, all of which must call this.
            clock: how long the training took.
            steps: the optimizer steps that were taken.
            spent: seconds that this probe held the training up for.
            ended: whether there will be no more steps.
            at: when this is.
        """

        def plan() -> Plan | None:
            is_last = ended or steps == self.last_step
            situation = Situation(clock.trained, spent, steps, self.last_step, is_last, self._turn(steps))
            return self.passes.plan_within(situation, at)

        planned = ranks.from_first(plan)
        return None if planned is None else question.reduced(planned)

    def _turn(self, steps: int) -> float | None:
        """The share of log-spaced passes that are due up to here; None for passes that come evenly."""
        if not self.log_spaced:
            return None
        first = int(self.schedule.before_first)
        due = first + sum(step <= steps for step in self.log_spaced)
        return due / (first + len(self.log_spaced))
