"""What `report_to` names is sent results, or said to be sent none."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainingArguments

from headwatch_callbacks import HeadAblation
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.hf_trainer.trackers import trackers_of
from headwatch_callbacks.trackers.settings import Trackers
from tests.headwatch_callbacks.hf_trainer.training import train
from tests.models import random_pairs

PAIRS = random_pairs(n=4)
LABEL = "headwatch/ablation/z/mean/loss"


@pytest.mark.parametrize("named", [False, True], ids=["by the Trainer", "by the environment"])
def test_tensorboard_gets_each_pass_beside_the_trainers_own_losses(tmp_path, monkeypatch, named):
    if named:
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    probe = HeadAblation(PAIRS, metric="loss", every_n_train_steps=4)
    train(tmp_path, HeadwatchCallback([probe], tmp_path / "run"), report_to=["tensorboard"])
    [folder] = {file.parent for file in tmp_path.rglob("events.out.tfevents.*")}
    assert (folder == tmp_path / "board") == named
    events = EventAccumulator(str(folder)).Reload()
    assert [one.step for one in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [one.step for one in events.Scalars(f"{LABEL}/clean")] == [0, 4, 6]
    assert [one.step for one in events.Images(f"{LABEL}/map")] == [0, 4, 6]
    assert any("report" in tag for tag in events.Tags()["tensors"])


def test_a_tracker_that_is_not_known_is_told_once(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=["mlflow", "tensorboard"], use_cpu=True)
    with pytest.warns(UserWarning, match=r"sends nothing to mlflow.*record in .*run keeps") as told:
        [tracker] = trackers_of(arguments, Trackers(), tmp_path / "run")
    assert (len(told), tracker.name) == (1, "tensorboard")


def test_no_tracker_is_no_reason_to_warn(tmp_path, recwarn):
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    assert trackers_of(arguments, Trackers(), tmp_path / "run") == []
    assert not recwarn.list
