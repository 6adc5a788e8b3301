"""Which record a Trainer's run is in: a new one, the one that its checkpoint names, or a sentence why neither."""

import os
import shutil

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from headwatch.record import Record
from headwatch.record.description import read_description
from headwatch_callbacks import record_folder
from headwatch_callbacks.lightning_trainer.run_folder import new_folder
from tests.headwatch_callbacks.lightning_trainer.fit import fit, steps_in
from tests.headwatch_callbacks.training import QUIET, Counting, Language, batches, trainer

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{text}")
    for text in [*QUIET, "callbacks used to create the checkpoint", "resuming from a checkpoint"]
]
OFTEN = {"every_n_train_steps": 1, "at_end": False}


class Stops(pl.Callback):
    """Ends a training as a signal does."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            raise KeyError("stop")


def interrupted(root, **options):
    """A training that was interrupted after its second step, with a checkpoint of its first."""
    keep = ModelCheckpoint(root, filename="kept", every_n_train_steps=1)
    run = trainer([Counting(**OFTEN, **options), keep, Stops()], root, enable_checkpointing=True)
    with pytest.raises(KeyError, match="stop"):
        run.fit(Language(), batches(), batches(2, shuffle=False))
    return run


def resume(root, checkpoint, **options):
    run = trainer([Counting(**OFTEN, **options)], root, max_steps=4)
    run.fit(Language(), batches(), batches(2, shuffle=False), ckpt_path=checkpoint)
    return run


def test_a_default_folder_is_gone_on_with(tmp_path):
    first = interrupted(tmp_path)
    again = resume(tmp_path, tmp_path / "kept.ckpt")
    assert record_folder(again) == record_folder(first)
    assert [entry.step for entry in Record.read(record_folder(again)).effects] == [-1, 0, 1, 2, 3]
    assert len(list((tmp_path / "headwatch_runs").iterdir())) == 1
    [note] = Record.read(record_folder(again)).notes
    assert note.message.startswith("training goes on in this record after process")


def test_a_record_that_was_moved_is_found_by_its_identity(tmp_path):
    first = interrupted(tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new")
    folder = tmp_path / "new" / "headwatch_runs"
    os.rename(folder / record_folder(first).name, folder / "renamed")
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    again = resume(tmp_path / "new", tmp_path / "new" / "kept.ckpt")
    assert record_folder(again) == folder / "renamed"


def test_a_record_that_is_gone_is_begun_anew_and_says_of_which_run(tmp_path):
    first = interrupted(tmp_path)
    shutil.rmtree(record_folder(first))
    again = resume(tmp_path, tmp_path / "kept.ckpt")
    [note] = Record.read(record_folder(again)).notes
    assert str(record_folder(first)) in note.message


def test_the_record_of_another_run_is_no_place_to_go_on_in(tmp_path):
    interrupted(tmp_path / "one", record=tmp_path / "a")
    fit(Counting(record=tmp_path / "b"), tmp_path / "two")
    with pytest.raises(ValueError, match="b holds the record of another run than the checkpoint's"):
        resume(tmp_path, tmp_path / "one" / "kept.ckpt", record=tmp_path / "b")


def test_a_checkpoint_of_an_earlier_headwatch_goes_on_by_name(tmp_path):
    interrupted(tmp_path, record=tmp_path / "mine")
    file = tmp_path / "kept.ckpt"
    saved = torch.load(file, weights_only=False)
    for state in saved["callbacks"].values():
        for name in ("run", "record"):
            state.pop(name, None)
    torch.save(saved, file)
    again = resume(tmp_path, file, record=tmp_path / "mine")
    assert [entry.step for entry in Record.read(record_folder(again)).effects] == [-1, 0, 1, 2, 3]


def test_a_job_that_died_before_its_first_checkpoint_starts_anew(tmp_path):
    record = tmp_path / "mine"
    interrupted(tmp_path, record=record)
    run = fit(Counting(record=record), tmp_path)
    assert steps_in(run) == [-1, 5]
    assert [entry.step for entry in Record.read(record / "attempt-1").effects] == [-1, 0]
    assert "kept in attempt-1" in Record.read(record).notes[0].message


def test_a_training_goes_on_in_the_record_of_its_own_validation(tmp_path):
    run = trainer([Counting()], tmp_path)
    run.validate(Language(), batches(2, shuffle=False), verbose=False)
    run.fit(Language(), batches(), batches(2, shuffle=False))
    assert len(list((tmp_path / "headwatch_runs").iterdir())) == 1
    assert [entry.step for entry in Record.read(record_folder(run)).effects] == [-1, 0, 5]


def test_a_trainer_that_fits_again_goes_on(tmp_path):
    run = fit(Counting(**OFTEN), tmp_path, max_steps=2)
    identity = read_description(record_folder(run)).id
    run.fit_loop.epoch_loop.max_steps = 4
    run.fit(Language(), batches(), batches(2, shuffle=False))
    assert [entry.step for entry in Record.read(record_folder(run)).effects] == [-1, 0, 1, 2, 3]
    assert read_description(record_folder(run)).id == identity


def test_folders_that_are_made_at_once_differ(tmp_path):
    one, other = trainer([], tmp_path), trainer([], tmp_path)
    made = {new_folder(each) for each in (one, other, one)}
    assert len(made) == 3
    assert all(folder.is_dir() for folder in made)


def test_a_record_that_is_being_written_is_refused(tmp_path):
    class Second(pl.Callback):
        said = ""

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step > 1:
                return
            with pytest.raises(ValueError, match="is being written by another run, process") as told:
                fit(Counting(record=tmp_path / "mine"), tmp_path)
            self.said = str(told.value)

    second = Second()
    fit([Counting(record=tmp_path / "mine"), second], tmp_path)
    assert "\n" not in second.said
    assert second.said != ""
