"""One pass: in what the question is asked, what is written, how it is timed, and what happens when it fails."""

import re
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from torch import nn

from headwatch_callbacks.questions import run_pass as module
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.run_pass import run_pass

MODEL = nn.Linear(1, 1)
AT = Moment(step=7, epoch=2)


class Counting(Question):
    """Answers so many times, and tells what happened to it in a list."""

    probe = asked = "counting"

    def __init__(self, answers=2, error=None, events=None):
        super().__init__()
        self.answers, self.error = answers, error
        self.events = [] if events is None else events

    def measure(self, model, at, progress):
        self.events.append(("measured", model, at))
        progress(1, 3)
        if self.error is not None:
            raise self.error
        return [
            ProbeResult(self.probe, f"counting/{k}", at.step, at.epoch, scalars={"k": float(k)})
            for k in range(self.answers)
        ]


@contextmanager
def noting(events):
    events.append("in")
    try:
        yield
    finally:
        events.append("out")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    hand = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: hand.now)
    return hand


def test_a_question_is_asked_once_of_the_model_at_its_moment_inside_within():
    events = []
    run_pass(
        Counting(events=events), MODEL, AT, lambda answer: events.append(answer.label), within=noting(events)
    )
    assert events == ["in", ("measured", MODEL, AT), "out", "counting/0", "counting/1"]


def test_every_answer_is_written_and_given_back_as_it_was_but_for_its_seconds():
    written = []
    answers = run_pass(Counting(3), MODEL, AT, written.append, within=noting([]))
    assert list(answers) == written
    assert [(a.label, a.probe, a.step, a.epoch, dict(a.scalars)) for a in written] == [
        (f"counting/{k}", "counting", 7, 2, {"k": k}) for k in range(3)
    ]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_answers_share_the_seconds_of_their_pass(clock, n):
    class Slow(Counting):
        def measure(self, model, at, progress):
            clock.now += 8.0
            return super().measure(model, at, progress)

    written = []

    def write(answer):
        clock.now += 1000.0  # writing is not the pass
        written.append(answer)

    run_pass(Slow(n), MODEL, AT, write, within=noting([]))
    assert [answer.seconds for answer in written] == [8.0 / n] * n


def test_the_seconds_hold_what_entering_and_leaving_costs(clock):
    @contextmanager
    def slow():
        clock.now += 2.0
        yield
        clock.now += 3.0

    [answer] = run_pass(Counting(1), MODEL, AT, lambda answer: None, within=slow())
    assert answer.seconds == 5.0


def test_progress_reaches_the_question():
    told = []
    run_pass(
        Counting(),
        MODEL,
        AT,
        lambda answer: None,
        within=noting([]),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3)]


def test_a_failure_is_told_and_nothing_is_written():
    error, events, written, told = RuntimeError("out of something"), [], [], []
    question = Counting(error=error, events=events)
    answers = run_pass(question, MODEL, AT, written.append, within=noting(events), failed=told.append)
    assert told == [error]
    assert list(answers) == written == []
    assert events == ["in", ("measured", MODEL, AT), "out"]  # left in order, though it failed


def test_a_failure_that_nobody_is_told_of_is_raised_and_nothing_is_written():
    written = []
    with pytest.raises(RuntimeError, match=re.escape("out of something")):
        run_pass(
            Counting(error=RuntimeError("out of something")), MODEL, AT, written.append, within=noting([])
        )
    assert written == []


def test_a_pass_that_goes_well_tells_of_no_failure():
    told = []
    run_pass(Counting(), MODEL, AT, lambda answer: None, within=noting([]), failed=told.append)
    assert told == []


def test_ending_the_training_is_no_failure_of_a_probe():
    told = []
    with pytest.raises(KeyboardInterrupt):
        run_pass(
            Counting(error=KeyboardInterrupt()),
            MODEL,
            AT,
            lambda answer: None,
            within=noting([]),
            failed=told.append,
        )
    assert told == []


def test_a_question_without_answers_writes_none():
    written = []
    assert list(run_pass(Counting(0), MODEL, AT, written.append, within=noting([]))) == written == []
