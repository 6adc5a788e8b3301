"""Checkpoints with identical weights are warned about by name, whoever put the other one into the record."""

import warnings
from dataclasses import replace

import pytest

from headwatch.model.architecture import Sizes
from headwatch.record import CheckpointEntry, Record
from headwatch_callbacks.checkpoints.duplicates import KnownCheckpoints
from headwatch_callbacks.checkpoints.evaluate import EvalJob, EvalQuestions, evaluate, pending_passes
from headwatch_callbacks.checkpoints.weights_hash import weights_hash
from headwatch_callbacks.questions.prompt_source import TaskPairs
from headwatch_callbacks.trackers.run_recorder import RunRecorder
from tests.models import tiny_gpt2

SIZES = Sizes(n_layers=2, n_heads=3, n_kv_heads=3, d_head=4, d_model=12, d_mlp=48, n_positions=16, d_vocab=32)
FIRST = CheckpointEntry(20, "checkpoint-20", "aa" * 32)
SAME = CheckpointEntry(40, "checkpoint-40", "aa" * 32)
OTHER = CheckpointEntry(60, "checkpoint-60", "bb" * 32)
TWO_NAMES = r"checkpoint-20 \(step 20\) and checkpoint-40 \(step 40\) have identical weights"


@pytest.fixture
def recorder(tmp_path):
    """Into a record that another process may open too."""
    opened = RunRecorder(tmp_path, SIZES)
    yield opened
    opened.finish()


def test_two_of_one_process(recorder, tmp_path):
    known = KnownCheckpoints(tmp_path)
    known.add(FIRST, recorder)
    with pytest.warns(RuntimeWarning, match=TWO_NAMES) as told:
        known.add(SAME, recorder)
    known.add(OTHER, recorder)
    assert len(told) == 1
    record = Record.read(tmp_path)
    assert record.checkpoints == (FIRST, SAME, OTHER)
    assert [(note.level, note.message) for note in record.notes] == [("warning", str(told[0].message))]


@pytest.mark.parametrize(("before", "now"), [(FIRST, SAME), (SAME, FIRST)], ids=["earlier", "later"])
def test_one_that_was_in_the_record_before(before, now, recorder, tmp_path):
    KnownCheckpoints(tmp_path).add(before, recorder)
    with pytest.warns(RuntimeWarning, match=TWO_NAMES):
        KnownCheckpoints(tmp_path).add(now, recorder)


def test_one_that_another_process_puts_into_the_record_meanwhile(recorder, tmp_path):
    mine, others = KnownCheckpoints(tmp_path), KnownCheckpoints(tmp_path)
    mine.add(OTHER, recorder)
    others.add(FIRST, recorder)
    with pytest.warns(RuntimeWarning, match=TWO_NAMES):
        mine.add(SAME, recorder)


class AtOnce(RunRecorder):
    """Before its own checkpoint's line, another process writes; after it, a third one does."""

    def checkpoint(self, entry):
        super().checkpoint(FIRST)
        super().checkpoint(entry)
        super().checkpoint(replace(entry, step=80, name="checkpoint-80"))


def test_of_two_processes_that_write_at_once_the_later_one_warns(tmp_path):
    recorder = AtOnce(tmp_path, SIZES)
    with pytest.warns(RuntimeWarning) as told:
        KnownCheckpoints(tmp_path).add(SAME, recorder)
    recorder.finish()
    assert ["checkpoint-80" in str(warning.message) for warning in told] == [False]


def test_a_checkpoint_is_written_once(recorder, tmp_path):
    for _ in range(2):
        known = KnownCheckpoints(tmp_path)
        known.add(FIRST, recorder)
        known.add(FIRST, recorder)
    lines = (tmp_path / "probes.jsonl").read_text().splitlines()
    assert sum('"checkpoint"' in line for line in lines) == 1


def test_copies_of_one_step_are_no_duplicates(recorder, tmp_path):
    known = KnownCheckpoints(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.add(FIRST, recorder)
        known.add(replace(FIRST, name="last.ckpt"), recorder)
    assert len(Record.read(tmp_path).checkpoints) == 2


def evaluation(folder, steps, seeds):
    """An evaluation of checkpoints whose weights the seeds decide; one seed is the same weights."""
    for step, seed in zip(steps, seeds, strict=True):
        tiny_gpt2(seed=seed).save_pretrained(folder / f"checkpoint-{step}")
    asked = EvalQuestions(("patterns",), TaskPairs("induction", n=4))
    return EvalJob(tuple(str(folder / f"checkpoint-{step}") for step in steps), asked, folder / "run")


def test_an_evaluation_records_the_hash_of_each_checkpoint_and_warns(tmp_path):
    asked = evaluation(tmp_path, (20, 40, 60), (1, 1, 2))
    with pytest.warns(RuntimeWarning, match=TWO_NAMES) as told:
        evaluate(asked, pending_passes(asked), accelerator="cpu")
    assert len([warning for warning in told if "identical" in str(warning.message)]) == 1
    wanted = [
        (step, f"checkpoint-{step}", weights_hash(tiny_gpt2(seed=seed)))
        for step, seed in ((20, 1), (40, 1), (60, 2))
    ]
    record = Record.read(tmp_path / "run")
    assert [(each.step, each.name, each.sha256) for each in record.checkpoints] == wanted
    assert [entry.step for entry in record.scores] == [20, 40, 60]


def test_an_evaluation_that_goes_on_warns_of_what_was_evaluated_before(tmp_path):
    first = evaluation(tmp_path, (20,), (1,))
    evaluate(first, pending_passes(first), accelerator="cpu")
    then = evaluation(tmp_path, (20, 40), (1, 1))
    todo = pending_passes(then)
    assert [each.step for each in todo] == [40]
    with pytest.warns(RuntimeWarning, match=TWO_NAMES):
        evaluate(then, todo, accelerator="cpu")
