"""Names of series, and schedules: taken as what they say, or refused in one sentence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwatch.effects import Effects
from headwatch.record import Record, RecordWriter
from headwatch_callbacks import HeadAblation
from headwatch_callbacks.questions.schedule import Schedule
from tests.fuzz.strategies import check_told, hostile_text, odd_values, share
from tests.models import random_pairs


@pytest.fixture(scope="module")
def pairs():
    return random_pairs()


@share(0.25)
@given(hostile_text)
def test_the_name_of_a_series_is_refused_or_comes_back(pairs, tmp_path_factory, name):
    try:
        label = HeadAblation(pairs, metric="loss", name=name).label
    except ValueError as error:
        check_told(error)
        return
    folder = tmp_path_factory.mktemp("named") / "run"
    effects = Effects(torch.ones(2, 2, 3), torch.ones(2), None, ("layer", "head"), "z", "mean", "loss")
    with RecordWriter(folder, name="run", model={"n_layers": 2, "n_heads": 3}) as writer:
        writer.effects(1, 0, "ablation", label, effects, 0.1)
        writer.patterns(1, 0, label, torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y"]])
    record = Record.read(folder)
    assert [entry.label for entry in record.effects] == [label]
    assert len(record.patterns(1, label).maps) == 1
    inside = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert inside <= {"run.json", "probes.jsonl", "attn", "per_pair"} | {
        path.name for path in folder.glob("*lock*")
    }
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert 0 < len(label) < 300
    assert label.isprintable()


LEAST = {"every_n_train_steps": 1, "every_n_epochs": 1, "log_spaced": 2}
FLAGS = ("on_validation", "before_first", "at_end")
schedules = st.dictionaries(st.sampled_from([*LEAST, *FLAGS]), odd_values, max_size=3)


def makes_sense(drawn):
    for name, value in drawn.items():
        whole = type(value) is int and value >= LEAST.get(name, 0)
        if not ((name in FLAGS and type(value) is bool) or (name in LEAST and (value is None or whole))):
            return False
    return sum(drawn.get(name) not in (None, False) for name in (*LEAST, "on_validation")) <= 1


@given(schedules)
def test_a_schedule_makes_sense_or_is_refused(drawn):
    try:
        schedule = Schedule(**drawn)
    except ValueError as error:
        check_told(error)
        schedule = None
    assert (schedule is not None) == makes_sense(drawn)
    if schedule is None:
        return
    steps = schedule.log_spaced_steps(1000) if (schedule.log_spaced or 0) < 10**6 else ()
    due = [step for step in range(1, 50) if schedule.due_after_step(step - 1, step, steps)]
    if schedule.every_n_train_steps:
        assert due == [step for step in range(1, 50) if step % schedule.every_n_train_steps == 0]
    assert [e for e in range(1, 9) if schedule.due_after_epoch(e)] == [
        e for e in range(1, 9) if e % (schedule.every_n_epochs or math.inf) == 0
    ]
