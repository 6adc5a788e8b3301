"""One tracker a logger, each behind a guard."""

import warnings
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger

from headwatch_callbacks.trackers import TRACKERS, GuardedTracker, Tracker, Trackers, trackers_for
from headwatch_callbacks.trackers.mlflow import MLFlowTracker
from headwatch_callbacks.trackers.numbers_only import NumbersTracker
from headwatch_callbacks.trackers.tensorboard import TensorBoardTracker
from headwatch_callbacks.trackers.wandb import WandbTracker
from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.trackers.passes import ablation
from tests.headwatch_callbacks.training import QUIET, Counting, Trace


def trainer(loggers, folder) -> pl.Trainer:
    return pl.Trainer(
        logger=loggers, default_root_dir=folder, accelerator="cpu", devices=1, enable_progress_bar=False
    )


class Failing(Tracker):
    """A tracker that raises from its nth use on, and counts its uses."""

    def __init__(self, error=None):
        self.error = error or RuntimeError("the tracker is down")
        self.used = 0

    def write(self, result):
        self.used += 1
        raise self.error

    def finish(self, report=None):
        self.used += 1
        raise self.error


def test_each_logger_gets_the_tracker_of_its_kind(tmp_path):
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path), WandbLogger(save_dir=tmp_path, offline=True)]
    trackers = trackers_for(trainer(loggers, tmp_path))
    assert [type(tracker.tracker) for tracker in trackers] == [
        NumbersTracker,
        TensorBoardTracker,
        WandbTracker,
    ]
    assert [tracker.name for tracker in trackers] == ["CSVLogger", "TensorBoardLogger", "WandbLogger"]


def test_the_probes_of_a_trainer_share_its_trackers(tmp_path):
    one = trainer([CSVLogger(tmp_path)], tmp_path)
    assert trackers_for(one) == trackers_for(one)
    assert trackers_for(one) != trackers_for(trainer([CSVLogger(tmp_path)], tmp_path))


def test_a_users_own_subclass_is_known_and_a_foreign_logger_gets_numbers(tmp_path):
    class Mine(TensorBoardLogger):
        pass

    class Foreign(DummyLogger):
        pass

    trackers = trackers_for(trainer([Mine(tmp_path), Foreign()], tmp_path))
    assert [type(tracker.tracker) for tracker in trackers] == [TensorBoardTracker, NumbersTracker]


def test_nothing_for_fast_dev_run_and_for_the_other_ranks(tmp_path):
    assert trackers_for(trainer([DummyLogger()], tmp_path)) == []
    other = trainer([CSVLogger(tmp_path)], tmp_path)
    stub = SimpleNamespace(global_rank=1, loggers=other.loggers)
    assert trackers_for(stub) == []


@pytest.mark.parametrize("uri", ["file:./mlruns", "file:///somewhere/mlruns", "./mlruns"])
def test_mlflows_file_store_is_refused_in_one_sentence(uri):
    stub = SimpleNamespace(_tracking_uri=uri)
    with pytest.raises(ValueError, match=rf"file store '{uri}'.*tracking_uri='sqlite:///mlflow.db'"):
        MLFlowTracker(stub, Trackers())


def test_a_failing_tracker_is_told_once_and_switched_off():
    failing = Failing()
    guarded = GuardedTracker(failing, "WandbLogger")
    with pytest.warns(
        UserWarning, match="nothing more to WandbLogger.*RuntimeError: the tracker is down"
    ) as told:
        guarded.write(ablation())
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        guarded.write(ablation())
        guarded.finish()
    assert failing.used == 1


def test_a_tracker_that_fails_at_the_end_is_told_too():
    with pytest.warns(UserWarning, match="nothing more to Failing.*OSError: no space left"):
        GuardedTracker(Failing(OSError("no space left"))).finish()


def test_the_user_can_still_interrupt():
    with pytest.raises(KeyboardInterrupt):
        GuardedTracker(Failing(KeyboardInterrupt())).write(ablation())


def test_a_logger_without_its_helper_is_taken_out_of_the_trainer(tmp_path):
    dead, alive = CSVLogger(tmp_path), TensorBoardLogger(tmp_path)
    one = trainer([dead, alive], tmp_path)
    guarded, _ = trackers_for(one)
    guarded.tracker = Failing(ConnectionResetError("reset by peer"))
    with pytest.warns(UserWarning, match=r"CSVLogger was taken out of trainer\.loggers"):
        guarded.write(ablation())
    assert one.loggers == [alive]


def test_a_logger_that_fails_otherwise_stays_in_the_trainer(tmp_path):
    one = trainer([CSVLogger(tmp_path)], tmp_path)
    [guarded] = trackers_for(one)
    guarded.tracker = Failing(OSError("no space left on device"))
    with pytest.warns(UserWarning, match="The record on disk is written apart from it") as told:
        guarded.write(ablation())
    assert len(one.loggers) == 1
    assert "raining goes on" not in str(told[0].message)


class Full(CSVLogger):
    """A logger whose disk is full."""

    def log_metrics(self, metrics, step=None):
        raise OSError("no space left on device")


@pytest.mark.filterwarnings(*(f"ignore:.*{text}" for text in QUIET))
def test_the_warning_says_what_lightnings_own_call_to_a_failing_logger_does(tmp_path):
    """headwatch's own first call is survived and warned about; the Trainer's ends the training, as was said."""
    pass_first, seen = Counting(before_first=True, at_end=False), Trace()
    with (
        pytest.warns(
            UserWarning, match="guards its own calls only, and an error in Lightning's ends the train"
        ),
        pytest.raises(OSError, match="no space left"),
    ):
        fit([seen, pass_first], tmp_path, logger=Full(tmp_path))
    assert len(pass_first.weights) == 1
    assert len(seen.losses) == 1


def test_a_tracker_of_ones_own_is_registered_by_its_loggers_name(tmp_path, monkeypatch):
    class MyLogger(CSVLogger):
        pass

    monkeypatch.setattr(TRACKERS, "_known", dict(TRACKERS))  # the registration ends with this test

    @TRACKERS.register("MyLogger")
    class MyTracker(Tracker):
        def __init__(self, logger, settings):
            self.logger, self.settings, self.steps = logger, settings, []

        def write(self, result):
            self.steps.append(result.step)

        def finish(self, report=None):
            pass

    one = trainer([MyLogger(tmp_path)], tmp_path)
    one.callbacks.append(Trackers(mosaic_every=7))
    [guarded] = trackers_for(one)
    guarded.write(ablation(3))
    assert type(guarded.tracker) is MyTracker
    assert (guarded.tracker.steps, guarded.tracker.settings.mosaic_every) == ([3], 7)


def test_the_known_trackers_are_listed_and_none_is_replaced_by_accident():
    assert sorted(TRACKERS) == ["MLFlowLogger", "TensorBoardLogger", "TrackioLogger", "WandbLogger"]
    with pytest.raises(ValueError, match="tracker 'WandbLogger' is registered already"):
        TRACKERS.register("WandbLogger", WandbTracker)
