"""One pass: a question put to a model, timed, guarded, and its answers handed on. Every trainer's passes are these."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from torch import nn

from headwatch_callbacks.questions.question import Moment, Progress, Question
from headwatch_callbacks.questions.result import ProbeResult


def no_progress(done: int, total: int) -> None:
    """Show no progress."""


def run_pass(
    question: Question,
    model: nn.Module,
    at: Moment,
    write: Callable[[ProbeResult], None],
    *,
    within: AbstractContextManager[object],
    progress: Progress = no_progress,
    failed: Callable[[Exception], None] | None = None,
) -> Sequence[ProbeResult]:
    """Ask a question once.

    Args:
        question: the question, prepared for this model.
        model: the model.
        at: when this is.
        write: takes each answer.
        within: what the model is asked in: evaluation mode without gradients, a precision.
        progress: told how much of how much is done.
        failed: told of an exception, which ends there; None raises it.

    Returns:
        The answers, each with its share of the seconds that the pass took; none where it failed.
    """

    def measure() -> Sequence[ProbeResult]:
        with within:
            return question.measure(model, at, progress)

    return hand_on(measure, write, since=time.perf_counter(), failed=failed)


def hand_on(
    measure: Callable[[], Sequence[ProbeResult]],
    write: Callable[[ProbeResult], None],
    *,
    since: float,
    failed: Callable[[Exception], None] | None = None,
) -> Sequence[ProbeResult]:
    """Hand answers on, with their shares of the seconds since the pass began; `run_pass` has the other arguments."""
    try:
        answers = measure()
    except Exception as error:  # a probe that fails must not end a training
        if failed is None:
            raise
        failed(error)
        return ()
    share = (time.perf_counter() - since) / max(len(answers), 1)
    timed = [replace(answer, seconds=share) for answer in answers]
    for answer in timed:
        write(answer)
    return timed
