"""One pass of all processes of a training: each answers a part of the question, and the first one writes the answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from headwatch_callbacks.questions.question import Moment, Progress, Question
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.run_pass import hand_on, no_progress
from headwatch_callbacks.ranks.ranks import Outcome, Ranks
from headwatch_callbacks.ranks.whole_model import whole_model

Answers = Sequence[ProbeResult]


@dataclass(frozen=True)
class SharedPass:
    """What came of a pass.

    Attributes:
        answers: the answers, in the first process alone; none where the pass failed in any of them.
        summaries: the few numbers that sum each answer up, by its label, in all processes.
        n_ranks: how many processes had a part in it.
    """

    answers: Answers
    summaries: Mapping[str, Mapping[str, float]]
    n_ranks: int


def run_shared_pass(
    ranks: Ranks,
    question: Question,
    model: nn.Module,
    at: Moment,
    write: Callable[[ProbeResult], None],
    *,
    within: AbstractContextManager[object],
    progress: Progress = no_progress,
    failed: Callable[[Exception], None],
) -> SharedPass:
    """Ask a question once; all processes of the training must call this, with the same question and weights.

    A question of one part is answered by the first process while the others wait, without a timeout.

    Args:
        ranks: the processes.
        question: the question, prepared for this model.
        model: the model; where `fully_shard` has sharded it, each process gathers a whole copy for the pass.
        at: when this is.
        write: takes each answer, in the first process.
        within: what the model is asked in: evaluation mode without gradients, a precision.
        progress: told how much of how much of this process's part is done.
        failed: told what any of them failed with, in the first process.

    Raises:
        RankLostError: one of them is gone.
    """
    started, parts = time.perf_counter(), question.parts(ranks.size)

    def measure() -> Answers | None:
        whole = whole_model(model) if question.reads_model else model
        if ranks.rank >= len(parts):
            return None
        with within:
            return parts[ranks.rank].measure(whole, at, progress)

    outcomes, answers = ranks.gather(measure), list[ProbeResult]()

    def finish() -> Mapping[str, Mapping[str, float]]:
        answers.extend(hand_on(lambda: _joined(question, outcomes), write, since=started, failed=failed))
        return {answer.label: answer.scalars for answer in answers}

    return SharedPass(answers, ranks.from_first(finish), len(parts))


def _joined(question: Question, outcomes: Sequence[Outcome[Answers | None]]) -> Answers:
    """The whole answer, or the error of the first process that failed."""
    found = [outcome.result() for outcome in outcomes]
    return question.joined([answers for answers in found if answers is not None])
