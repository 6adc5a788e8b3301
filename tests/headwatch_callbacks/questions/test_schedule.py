import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwatch_callbacks.questions.schedule import Schedule, log_spaced_steps


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"every_n_train_steps": 5, "every_n_epochs": 1},
            "every_n_train_steps and every_n_epochs contradict",
        ),
        ({"every_n_epochs": 2, "on_validation": True}, "every_n_epochs and on_validation contradict"),
        ({"every_n_train_steps": 5, "log_spaced": 9}, "every_n_train_steps and log_spaced contradict"),
        ({"every_n_train_steps": 0}, "every_n_train_steps=0 can't take effect: give 1 or more"),
        ({"every_n_epochs": -1}, "every_n_epochs=-1 can't take effect"),
        ({"log_spaced": 1}, "log_spaced=1 can't take effect: give 2 or more"),
        ({"every_n_train_steps": True}, "every_n_train_steps=True can't take effect: give a whole number"),
        ({"every_n_epochs": False}, "every_n_epochs=False can't take effect: give a whole number"),
        ({"every_n_train_steps": 1.5}, "every_n_train_steps=1.5 can't take effect: give a whole number"),
        ({"every_n_epochs": float("inf")}, "every_n_epochs=inf can't take effect: give a whole number"),
        ({"log_spaced": float("nan")}, "log_spaced=nan can't take effect: give a whole number"),
        ({"every_n_train_steps": "5"}, "every_n_train_steps='5' can't take effect: give a whole number"),
        ({"on_validation": 1}, "on_validation=1: give True or False"),
        ({"before_first": "no"}, "before_first='no': give True or False"),
        ({"at_end": None}, "at_end=None: give True or False"),
    ],
)
def test_options_that_contradict_or_cannot_take_effect_are_errors(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Schedule(**options)


def test_every_n_steps_is_due_at_multiples_of_n():
    schedule = Schedule(every_n_train_steps=3)
    assert [k for k in range(1, 10) if schedule.due_after_step(k - 1, k)] == [3, 6, 9]


def test_steps_that_jump_over_a_multiple_are_due_once():
    """Two optimizers make two steps of a batch."""
    schedule = Schedule(every_n_train_steps=3)
    assert [k for k in range(2, 14, 2) if schedule.due_after_step(k - 2, k)] == [4, 6, 10, 12]


def test_log_spaced_is_due_at_powers():
    schedule = Schedule(log_spaced=4, before_first=False)
    steps = schedule.log_spaced_steps(1000)
    assert [k for k in range(1, 1001) if schedule.due_after_step(k - 1, k, steps)] == [1, 10, 100, 1000]


def test_log_spaced_starts_after_the_first_step_whatever_was_asked_before_it():
    assert Schedule(log_spaced=2).log_spaced_steps(100) == (1, 100)


def test_log_spaced_needs_a_run_of_known_length():
    with pytest.raises(ValueError, match="log_spaced=4 needs a run of known length"):
        Schedule(log_spaced=4).log_spaced_steps(float("inf"))


@given(st.integers(2, 50), st.integers(1, 20), st.integers(1, 10_000))
def test_log_spaced_steps_start_and_end_where_they_should(n, first, more):
    steps = log_spaced_steps(n, first, first + more)
    assert steps[0] == first
    assert steps[-1] == first + more
    assert len(steps) <= n
    assert list(steps) == sorted(set(steps))


def test_log_spaced_steps_of_a_run_of_one_step():
    assert log_spaced_steps(5, 2, 1) == (2,)


def test_epochs():
    schedule = Schedule(every_n_epochs=2)
    assert [epochs for epochs in range(1, 7) if schedule.due_after_epoch(epochs)] == [2, 4, 6]
    assert not any(Schedule(every_n_train_steps=1).due_after_epoch(epochs) for epochs in range(1, 7))
