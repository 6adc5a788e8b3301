"""A training's record whose disk fails: one pass is lost and noted, the training and the later passes are not."""

import os
import shutil
import warnings
from dataclasses import replace

import pytest

from headwatch.record import Record
from headwatch_callbacks.trackers.training_recorder import TrainingRecorder
from tests.headwatch_callbacks.trackers.passes import ablation, patterns
from tests.headwatch_callbacks.trackers.test_run_recorder import LABEL, SIZES, pairs


@pytest.fixture
def recorder(tmp_path):
    return TrainingRecorder(tmp_path / "run", SIZES)


def failing(monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("headwatch.record.line_file.os.write", fail)


def write(recorder, *steps):
    for step in steps:
        recorder.write(ablation(step))


def steps(folder):
    return [entry.step for entry in Record.read(folder).effects]


def test_one_error_costs_one_pass_and_the_record_says_which(recorder, monkeypatch):
    recorder.write(ablation(1))
    with monkeypatch.context() as disk:
        failing(disk)
        with pytest.warns(UserWarning, match=f"could not write {LABEL} at step 2 .* tried again") as told:
            write(recorder, 2, 3)
        recorder.scalars(3, {"train/loss": 1.0})
    assert len(told) == 1
    recorder.write(ablation(4))
    recorder.finish()
    record = Record.read(recorder.folder)
    assert [entry.step for entry in record.effects] == [1, 4]
    [note] = record.notes
    assert note.message == (
        f"missing, because writing it failed: {LABEL} at step 2; {LABEL} at step 3; train/loss at step 3"
    )
    assert record.problems == ()


def test_of_many_passes_that_are_missing_the_note_says_how_many(recorder, monkeypatch):
    with monkeypatch.context() as disk, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failing(disk)
        for step in range(30):
            recorder.write(ablation(step))
    recorder.finish()
    [note] = Record.read(recorder.folder).notes
    assert note.message.endswith(f"{LABEL} at step 4 and 25 more")


def test_each_time_the_disk_fails_is_told(recorder, monkeypatch):
    for step in (1, 3):
        with monkeypatch.context() as disk:
            failing(disk)
            with pytest.warns(UserWarning, match=f"could not write {LABEL} at step {step}"):
                recorder.write(ablation(step))
        recorder.write(ablation(step + 1))
    assert steps(recorder.folder) == [2, 4]


def test_what_can_never_be_written_costs_itself_alone(recorder):
    with pytest.warns(UserWarning, match="could not write patterns at step 1 .*ValueError"):
        recorder.write(
            replace(patterns(1), frame=replace(patterns(1).frame, maps=patterns(1).frame.maps * 9))
        )
    recorder.write(ablation(2))
    assert steps(recorder.folder) == [2]


def test_a_record_that_fails_to_the_end_ends_no_training(recorder, monkeypatch):
    with monkeypatch.context() as disk:
        failing(disk)
        with pytest.warns(UserWarning, match="could not write") as told:
            write(recorder, 1)
        recorder.finish()
    assert len(told) == 1


def test_a_deleted_record_gets_its_prompts_again(recorder):
    recorder.write(replace(ablation(1), pairs=pairs()))
    shutil.rmtree(recorder.folder)
    with pytest.warns(RuntimeWarning, match="was deleted or replaced"):
        recorder.write(replace(ablation(2), pairs=pairs()))
    recorder.finish()
    record = Record.read(recorder.folder)
    assert [entry.step for entry in record.effects] == [2]
    assert LABEL in record.prompts


def test_a_record_that_another_process_took_is_told_once_and_left_alone(recorder):
    recorder.write(ablation(1))
    os.unlink(recorder.folder / "owner-1.json")
    later = TrainingRecorder(recorder.folder, SIZES, goes_on=True, run=recorder.identity.id)
    with pytest.warns(UserWarning, match="into the record: .* was taken over by process") as told:
        write(recorder, 2, 3)
    recorder.finish()
    assert len(told) == 1
    later.write(ablation(4))
    later.finish()
    assert steps(recorder.folder) == [1, 4]


def test_a_refusal_leaves_the_record_to_others(tmp_path):
    TrainingRecorder(tmp_path / "run", SIZES).close("interrupted")
    with pytest.raises(ValueError, match="n_layers"):
        TrainingRecorder(tmp_path / "run", replace(SIZES, n_layers=3), goes_on=True)
    TrainingRecorder(tmp_path / "run", SIZES, goes_on=True).finish()


def test_how_a_record_went_on_is_noted(tmp_path):
    first = TrainingRecorder(tmp_path / "run", SIZES)
    first.close("interrupted")
    TrainingRecorder(tmp_path / "run", SIZES, goes_on=True, run=first.identity.id).finish()
    [note] = Record.read(tmp_path / "run").notes
    assert note.message.startswith(f"training goes on in this record after process {os.getpid()} on ")
