"""Two processes find what one finds, and a strategy that splits the model is refused."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from headwatch.record import Record
from headwatch_callbacks.lightning_trainer.ranks import check_strategy


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


@pytest.mark.parametrize("name", ["FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"])
def test_a_strategy_that_splits_the_model_is_refused(name):
    trainer = SimpleNamespace(strategy=type(name, (), {})())
    with pytest.raises(ValueError, match=f"headwatch can't probe under {name}.*strategy='ddp'"):
        check_strategy(trainer)
