"""Two processes find what one finds, and a strategy that splits the model is refused."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

import headwatch as hw
from headwatch.record import Record
from headwatch_callbacks.lightning_trainer.ranks import can_evaluate, check_strategy, is_served
from tests.headwatch_callbacks.training import Counting, Language
from tests.headwatch_callbacks.two_processes import PAIRS, Alike

ELSEWHERE = "RankFailedError: rank 1 found RuntimeError: no such luck"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of several trainings, of one process, two and three."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = [
        "2 two probed",
        "3 three probed",
        "2 back background",
        "2 slow slow",
        "2 bare bare",
        "1 one probed",
    ]
    kinds += ["2 rough rough", "2 rough-bare rough-bare"]
    places = [(devices, str(folder / name), kind) for devices, name, kind in map(str.split, kinds)]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.headwatch_callbacks.two_processes",
        *sum(places, ()),
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert said.returncode == 0, said.stderr
    return folder


def record(runs, name):
    return Record.read(runs / name / "record")


def passes(entries):
    """The passes that don't depend on the clock, by their names and steps."""
    return {(one.label, one.step): one for one in entries if not one.label.endswith(("paid", "elsewhere"))}


@pytest.mark.parametrize("name", ["two", "three"])
def test_many_processes_find_what_one_finds(runs, name):
    ours, theirs = (passes(record(runs, each).effects) for each in (name, "one"))
    assert len(theirs) == 14
    assert ours.keys() == theirs.keys()
    for key, entry in theirs.items():
        for numbers in ("mean", "stderr"):
            found, expected = (getattr(one, numbers) for one in (ours[key], entry))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=f"{key} {numbers}")


@pytest.mark.parametrize("name", ["two", "three"])
def test_many_processes_score_what_one_scores(runs, name):
    ours, theirs = (passes(record(runs, each).scores) for each in (name, "one"))
    assert ours.keys() == theirs.keys()
    for key, entry in theirs.items():
        for score, expected in entry.scores.items():
            np.testing.assert_allclose(ours[key].scores[score], expected, rtol=1e-6, err_msg=f"{key} {score}")


def test_all_processes_know_the_same_summaries(runs):
    for name, size in (("two", 2), ("three", 3)):
        seen = {(runs / name / f"rank{rank}").read_text() for rank in range(size)}
        assert len(seen) == 1
        assert "headwatch/ablation/z/mean/loss/few/largest_effect" in seen.pop()


def test_a_pass_that_fails_in_any_process_is_told_and_stops_no_training(runs):
    failures = [note.message for note in record(runs, "two").notes if "failed" in note.message]
    assert failures.count("the probe elsewhere failed before training: " + ELSEWHERE) == 1
    assert [text for text in failures if "counting" in text] == [
        f"the probe counting failed {when}: RuntimeError: no such luck"
        for when in ("before training", "after step 0", "after step 1", "after step 2")
    ]
    assert len([one for one in record(runs, "one").effects if one.label == "elsewhere"]) == 1


def test_many_processes_train_as_they_do_without_probes(runs):
    for name, other in (("two", "bare"), ("back", "bare"), ("slow", "bare"), ("rough", "rough-bare")):
        probed, bare = (torch.load(runs / each / "trained.pt") for each in (name, other))
        assert all(torch.equal(probed[key], bare[key]) for key in bare), name


def test_passes_run_in_the_precision_of_the_training_in_all_processes(runs):
    """With accumulation; bfloat16's own error is 10 times as large as what is allowed."""
    entries = record(runs, "rough").effects
    assert [entry.step for entry in entries] == [1, 2]
    model = Alike().float()
    model.load_state_dict(torch.load(runs / "rough" / "trained.pt"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = hw.ablate_heads(model, PAIRS, metric="loss").mean
    exact = hw.ablate_heads(model, PAIRS, metric="loss").mean
    assert abs(torch.tensor(entries[-1].mean) - rough).max() < 1e-4 < 1e-3 < abs(exact - rough).max()


def test_a_pass_and_the_end_may_take_longer_than_the_timeout_of_the_training(runs):
    assert [entry.label for entry in record(runs, "slow").effects] == ["sleeping"]
    assert len(record(runs, "slow").notes) == 0


def test_nobody_waits_for_a_pass_in_the_background_until_the_end(runs):
    found = record(runs, "back")
    assert [entry.step for entry in found.scores] == [-1, 2]
    assert [note.message for note in found.notes] == [
        "the probe says skipped 3 passes in the background: after 0, 1, 2"
    ]


def under(strategy, **settings):
    """A trainer under a strategy that this machine can't start: the real class, without its set-up."""
    return SimpleNamespace(strategy=object.__new__(strategy), **settings)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize(
    "name",
    [
        "fsdp.FSDPStrategy",
        "deepspeed.DeepSpeedStrategy",
        "xla.XLAStrategy",
        "single_xla.SingleDeviceXLAStrategy",
    ],
)
def test_a_training_under_what_can_not_be_probed_is_refused(package, name):
    module, _, kind = name.partition(".")
    strategy = getattr(importlib.import_module(f"{package}.strategies.{module}"), kind)
    with pytest.raises(ValueError, match=rf"training under {kind}: .*strategy='ddp'.*trainer\.validate"):
        check_strategy(under(strategy))


def test_fully_shard_is_served_and_tensor_parallelism_is_not():
    for n, served in ((1, True), (2, False)):
        training = under(ModelParallelStrategy)
        training.strategy._device_mesh = {"tensor_parallel": SimpleNamespace(size=lambda n=n: n)}
        assert is_served(training) == served
    with pytest.raises(
        ValueError, match=r"under ModelParallelStrategy with tensor parallelism: .*fully_shard"
    ):
        check_strategy(training)


def test_one_device_ddp_and_what_a_user_makes_of_them_are_served():
    for strategy in (SingleDeviceStrategy, DDPStrategy, type("Mine", (DDPStrategy,), {})):
        check_strategy(under(strategy))


def test_only_a_training_is_refused():
    """A validation on one device is probed; on several it goes on without its probe, which says so."""
    probe = Counting(every_n_train_steps=1)
    one, two = (under(DeepSpeedStrategy, callbacks=[probe], world_size=n) for n in (1, 2))
    with pytest.raises(ValueError, match="training under DeepSpeedStrategy"):
        probe.setup(one, Language(), "fit")
    probe.setup(one, Language(), "validate")
    assert can_evaluate(one)
    probe.setup(two, Language(), "validate")
    with pytest.warns(UserWarning, match=r"under DeepSpeedStrategy on 2 devices.*Trainer\(devices=1\)"):
        probe.on_test_epoch_end(two, Language())
    assert probe.weights == []
