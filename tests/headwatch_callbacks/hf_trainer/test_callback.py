"""The probes under transformers.Trainer: what they write, and that training stays the same bit for bit."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from torch import nn
from transformers import TrainerCallback

from headwatch.ablation import ablate_heads
from headwatch.record import Record
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    ProbeCallback,
)
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from tests.headwatch_callbacks.background.questions import Waits
from tests.headwatch_callbacks.hf_trainer.training import same, train
from tests.headwatch_callbacks.trackers.wandb_file import history
from tests.models import random_pairs, tiny_gpt2

PAIRS = random_pairs(n=4)


def probes(**schedule):
    return [
        HeadAblation(PAIRS, kind="resample", metric="loss", **schedule),
        ActivationPatching(PAIRS, **schedule),
        AttentionMaps(PAIRS, **schedule),
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("limit", [{}, {"max_overhead": 0.9}], ids=str)
def test_training_is_the_same_bit_for_bit(tmp_path, plain, limit):
    probed = train(tmp_path, HeadwatchCallback(probes(every_n_train_steps=2, **limit), tmp_path / "run"))
    assert same(plain, probed)


class DrawsANumber(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        torch.rand(1)


def test_a_planted_mistake_is_seen(tmp_path, plain):
    assert not same(plain, train(tmp_path, DrawsANumber()))


def test_results_stand_at_the_trainers_steps_with_its_losses(tmp_path):
    seen = {}

    class Copy(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen[state.global_step] = copy.deepcopy(kwargs["model"]).eval()

    ours = HeadwatchCallback([HeadAblation(PAIRS, metric="loss", every_n_train_steps=4)], tmp_path / "run")
    trainer, *_ = train(tmp_path, Copy(), ours)
    record = Record.read(tmp_path / "run")
    assert [entry.step for entry in record.effects] == [0, 4, 6]
    wanted = ablate_heads(seen[4], PAIRS, kind="mean", metric="loss")
    assert np.allclose(record.effects[1].mean, wanted.mean.numpy(), atol=1e-5)
    logged = {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
    assert record.scalars["loss"].steps.tolist() == sorted(logged)
    assert record.scalars["loss"].values.tolist() == pytest.approx([logged[step] for step in sorted(logged)])
    assert (tmp_path / "run" / "report.html").is_file()


class WaitsAtOddSteps(TrainerCallback):
    def __init__(self, ours):
        self.ours = ours

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % 2 == 1:
            with preserve_rng():  # beartype, which tests run under, draws from Python's own random states
                self.ours._background.collect(wait=True)


def test_in_the_background_training_and_results_are_the_same(tmp_path, plain):
    front = HeadwatchCallback(probes(every_n_train_steps=2), tmp_path / "front")
    train(tmp_path, front)
    back = HeadwatchCallback(probes(every_n_train_steps=2, background=True), tmp_path / "back")
    assert same(plain, train(tmp_path, WaitsAtOddSteps(back), back))
    wanted, found = (Record.read(tmp_path / name) for name in ("front", "back"))
    assert [entry.step for entry in wanted.effects] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert found.notes == ()
    for one, other in zip(found.effects, wanted.effects, strict=True):
        assert (one.step, one.label) == (other.step, other.label)
        np.testing.assert_allclose(one.mean, other.mean, rtol=0, atol=1e-6)
    assert [entry.step for entry in found.scores] == [0, 2, 4, 6]


def test_the_end_waits_for_the_background_and_what_came_meanwhile_is_counted(tmp_path):
    gate = tmp_path / "gate"

    class Opens(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            gate.touch()

    probe = ProbeCallback(Waits(gate), every_n_train_steps=3, background=True)
    train(tmp_path, Opens(), HeadwatchCallback([probe], tmp_path / "run"))
    record = Record.read(tmp_path / "run")
    assert [entry.step for entry in record.scores] == [0, 6]
    [note] = record.notes
    assert note.message == "the probe says skipped 2 passes in the background: after 3, 6"


class Fails(HeadAblation):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.question.measure = self.fail

    def fail(self, model, at, progress):
        raise RuntimeError("out of something")


def test_a_probe_that_fails_is_told_once_and_training_goes_on(tmp_path, plain):
    with pytest.warns(UserWarning, match="failed with RuntimeError.*training goes on") as told:
        probed = train(tmp_path, HeadwatchCallback([Fails(PAIRS, every_n_train_steps=1)], tmp_path / "run"))
    assert len(told) == 1
    assert same(plain, probed)


def test_what_can_not_run_here_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"GradientImportance can't run under transformers\.Trainer"):
        HeadwatchCallback([GradientImportance()], tmp_path)
    with pytest.raises(ValueError, match="two probes write one series"):
        HeadwatchCallback([HeadAblation(PAIRS, metric="loss"), HeadAblation(PAIRS, metric="loss")], tmp_path)


def test_wandb_gets_each_pass_at_the_trainers_own_x(tmp_path, monkeypatch):
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    ours = HeadwatchCallback([HeadAblation(PAIRS, metric="loss", every_n_train_steps=4)], tmp_path / "run")
    trainer, *_ = train(tmp_path, ours, report_to=["wandb"])
    folder = Path(wandb.run.dir).parent
    wandb.finish()
    rows = [row for row in history(folder) if "headwatch/ablation/z/mean/loss/map" in row]
    assert [row["train/global_step"] for row in rows] == [0, 4, 6]
    logged = [row["train/global_step"] for row in history(folder) if "train/loss" in row]
    assert logged == [row["step"] for row in trainer.state.log_history if "loss" in row]
    assert sum("HeadImportance" in row for row in history(folder)) == 1
    assert sum("headwatch/report" in row for row in history(folder)) == 1


class Counting(nn.Module):
    """A model around a GPT-2, which counts the GPT-2's calls in a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.gpt = tiny_gpt2().train()
        self.register_buffer("calls", torch.zeros(()))
        self.gpt.register_forward_hook(lambda *_: self.calls.add_(1) and None)

    def forward(self, input_ids, labels):
        return {"loss": self.gpt(input_ids, labels=labels).loss}


def test_buffers_around_the_gpt2_are_put_back(tmp_path):
    without, _, _ = train(tmp_path / "without", model=Counting())
    probe = HeadAblation(PAIRS, metric="loss", every_n_train_steps=1, engine="hooks")
    trainer, _, _ = train(tmp_path, HeadwatchCallback([probe], tmp_path / "run"), model=Counting())
    assert trainer.model.calls == without.model.calls == 12
