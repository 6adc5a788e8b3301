"""Two processes find what one finds, and a strategy that splits the model is refused."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy

from headwatch.record import Record
from headwatch_callbacks.lightning_trainer.ranks import can_evaluate, check_strategy
from tests.headwatch_callbacks.training import Counting, Language


def run(devices, folder, probed="probed"):
    """Start the program, which says all it has to say in its folder."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.headwatch_callbacks.two_processes"]
    return subprocess.Popen(
        [*command, str(devices), str(folder), probed],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_find_what_one_finds_and_train_as_they_do_without_probes(tmp_path):
    runs = [run(1, tmp_path / "one"), run(2, tmp_path / "two"), run(2, tmp_path / "without", "bare")]
    for each in runs:
        said, _ = each.communicate(timeout=180)
        assert each.returncode == 0, said
    one, two = (Record.read(tmp_path / name / "record") for name in ("one", "two"))
    assert [entry.step for entry in two.effects] == [entry.step for entry in one.effects] == [0, 0, 1, 2, 2]
    for ours, theirs in zip(two.effects, one.effects, strict=True):
        np.testing.assert_array_equal(ours.mean, theirs.mean)
    for ours, theirs in zip(two.scores, one.scores, strict=True):
        for name in theirs.scores:
            np.testing.assert_allclose(ours.scores[name], theirs.scores[name], rtol=1e-6)
    assert len(two.notes) == len(one.notes) == 4
    assert (tmp_path / "two" / "rank0").read_text() == (tmp_path / "two" / "rank1").read_text()
    probed, bare = (torch.load(tmp_path / name / "trained.pt") for name in ("two", "without"))
    assert all(torch.equal(probed[name], bare[name]) for name in bare)


def test_nobody_waits_for_a_pass_in_the_background_until_the_end(tmp_path):
    runs = [run(2, tmp_path / "back", "background"), run(2, tmp_path / "without", "bare")]
    for each in runs:
        said, _ = each.communicate(timeout=180)
        assert each.returncode == 0, said
    record = Record.read(tmp_path / "back" / "record")
    assert [entry.step for entry in record.scores] == [0, 2]
    assert [note.message for note in record.notes] == [
        "the probe says skipped 3 passes in the background: after 0, 1, 2"
    ]
    probed, bare = (torch.load(tmp_path / name / "trained.pt") for name in ("back", "without"))
    assert all(torch.equal(probed[name], bare[name]) for name in bare)


def under(strategy, **settings):
    """A trainer under a strategy that this machine can't start: the real class, without its set-up."""
    return SimpleNamespace(strategy=object.__new__(strategy), **settings)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize(
    "name",
    [
        "fsdp.FSDPStrategy",
        "model_parallel.ModelParallelStrategy",
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
