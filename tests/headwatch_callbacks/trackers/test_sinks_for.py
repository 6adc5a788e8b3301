"""One sink a logger, each behind a guard."""

import warnings
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger

from headwatch_callbacks.trackers import GuardedSink, TrackerOptions, sinks_for
from headwatch_callbacks.trackers.mlflow import MLFlowSink
from headwatch_callbacks.trackers.numbers_only import NumbersSink
from headwatch_callbacks.trackers.tensorboard import TensorBoardSink
from headwatch_callbacks.trackers.wandb import WandbSink
from tests.headwatch_callbacks.trackers.passes import ablation


def trainer(loggers, folder) -> pl.Trainer:
    return pl.Trainer(
        logger=loggers, default_root_dir=folder, accelerator="cpu", devices=1, enable_progress_bar=False
    )


class Failing:
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


def test_each_logger_gets_the_sink_of_its_kind(tmp_path):
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path), WandbLogger(save_dir=tmp_path, offline=True)]
    sinks = sinks_for(trainer(loggers, tmp_path))
    assert [type(sink.sink) for sink in sinks] == [NumbersSink, TensorBoardSink, WandbSink]
    assert [sink.name for sink in sinks] == ["CSVLogger", "TensorBoardLogger", "WandbLogger"]


def test_the_probes_of_a_trainer_share_its_sinks(tmp_path):
    one = trainer([CSVLogger(tmp_path)], tmp_path)
    assert sinks_for(one) == sinks_for(one)
    assert sinks_for(one) != sinks_for(trainer([CSVLogger(tmp_path)], tmp_path))


def test_a_users_own_subclass_is_known_and_a_foreign_logger_gets_numbers(tmp_path):
    class Mine(TensorBoardLogger):
        pass

    class Foreign(DummyLogger):
        pass

    sinks = sinks_for(trainer([Mine(tmp_path), Foreign()], tmp_path))
    assert [type(sink.sink) for sink in sinks] == [TensorBoardSink, NumbersSink]


def test_nothing_for_fast_dev_run_and_for_the_other_ranks(tmp_path):
    assert sinks_for(trainer([DummyLogger()], tmp_path)) == []
    other = trainer([CSVLogger(tmp_path)], tmp_path)
    stub = SimpleNamespace(global_rank=1, loggers=other.loggers)
    assert sinks_for(stub) == []


def test_mlflows_file_store_is_refused_in_one_sentence():
    stub = SimpleNamespace(_tracking_uri="file:./mlruns")
    with pytest.raises(ValueError, match=r"file store 'file:./mlruns'.*tracking_uri='sqlite:///mlflow.db'"):
        MLFlowSink(stub, TrackerOptions())


def test_a_failing_sink_is_told_once_and_switched_off():
    failing = Failing()
    guarded = GuardedSink(failing, "WandbLogger")
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


def test_a_sink_that_fails_at_the_end_is_told_too():
    with pytest.warns(UserWarning, match="nothing more to Failing.*OSError: no space left"):
        GuardedSink(Failing(OSError("no space left"))).finish()


def test_the_user_can_still_interrupt():
    with pytest.raises(KeyboardInterrupt):
        GuardedSink(Failing(KeyboardInterrupt())).write(ablation())


def test_a_logger_without_its_helper_is_taken_out_of_the_trainer(tmp_path):
    dead, alive = CSVLogger(tmp_path), TensorBoardLogger(tmp_path)
    one = trainer([dead, alive], tmp_path)
    guarded, _ = sinks_for(one)
    guarded.sink = Failing(ConnectionResetError("reset by peer"))
    with pytest.warns(UserWarning, match=r"CSVLogger was taken out of trainer\.loggers"):
        guarded.write(ablation())
    assert one.loggers == [alive]


def test_a_logger_that_fails_otherwise_stays_in_the_trainer(tmp_path):
    one = trainer([CSVLogger(tmp_path)], tmp_path)
    [guarded] = sinks_for(one)
    guarded.sink = Failing(OSError("no space left on device"))
    with pytest.warns(UserWarning, match="The record on disk keeps every result"):
        guarded.write(ablation())
    assert len(one.loggers) == 1
