"""One probe's share of a training's time: what its passes are made of, which are skipped, and what is said of that."""

from collections.abc import Sequence
from typing import final

from headwatch.effects.estimated import EstimatedEffects
from headwatch.model.architecture import Architecture
from headwatch_callbacks.questions.changes import PassChanges
from headwatch_callbacks.questions.overhead_controller import OverheadController, Situation
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.result import ProbeResult

_NAMED = 20  # steps


@final
class PassBudget:
    """Keeps one probe to its share of the training time.

    Args:
        question: the probe's question, prepared for the model.
        network: the model.
        max_overhead: the share that all probes that keep to one may take together.
        n_probes: how many they are.
    """

    def __init__(
        self, question: Question, network: Architecture, max_overhead: float, n_probes: int = 1
    ) -> None:
        self._question, self.max_overhead = question, max_overhead
        self._controller = OverheadController(max_overhead / n_probes, question.spare(network))
        self._changes = PassChanges()
        self._skipped: list[int] = []
        self._plan = Plan()

    def plan_within(self, situation: Situation, at: Moment) -> Plan | None:
        """How much of the question is asked; None where this pass is skipped."""
        plan = self._controller.plan(situation)
        if plan is None:
            self._skipped.append(at.step)
            return None
        self._plan = plan
        return plan

    def answered(self, answers: Sequence[ProbeResult], n_ranks: int = 1) -> None:
        """Learn from a pass what the next one will take, and whether anything changes; not from one that failed.

        Args:
            answers: the answers.
            n_ranks: how many processes the pass was shared out over; a later one may not be, and takes as much longer.
        """
        if not answers:
            return
        estimated = [
            each.effects.cost_by_clock for each in answers if isinstance(each.effects, EstimatedEffects)
        ]
        self._controller.learn(
            self._plan, n_ranks * sum(each.seconds for each in answers), sum(estimated) if estimated else 1.0
        )
        changes = [change for each in answers if (change := self._changes.since_last(each)) is not None]
        if changes:
            self._controller.changing = any(bool(change.significant().any()) for change in changes)

    @property
    def told_at_start(self) -> str:
        """What the record says before the first pass."""
        return f"the passes of {self._question.identity} keep to max_overhead={self.max_overhead}"

    @property
    def told_at_end(self) -> str | None:
        """What the record says of passes that were skipped; None where none was."""
        if not self._skipped:
            return None
        named = ", ".join(map(str, self._skipped[:_NAMED])) + (", ..." if len(self._skipped) > _NAMED else "")
        passes = "1 pass" if len(self._skipped) == 1 else f"{len(self._skipped)} passes"
        skipped = f"the probe {self._question.identity} skipped {passes}"
        return f"{skipped} to keep to max_overhead={self.max_overhead}: after {named}"


def check_max_overhead(max_overhead: float | None) -> None:
    """Refuse what is no share of a training's time.

    Raises:
        ValueError: such a value.
    """
    if max_overhead is not None and (
        isinstance(max_overhead, bool)
        or not isinstance(max_overhead, int | float)
        or not 0 < max_overhead < 1
    ):
        raise ValueError(
            f"max_overhead={max_overhead!r}: give the share of the training time that passes may take, such as 0.05"
        )
