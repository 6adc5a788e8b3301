"""A model sharded over two processes (FSDP2): probed as the whole one is, and trained as without probes."""

import subprocess
import sys

import pytest
import torch

import headwatch as hw
from tests.headwatch_callbacks.lightning_trainer.fsdp_training import PAIRS, Sharded
from tests.headwatch_callbacks.training import differences


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left."""
    root = tmp_path_factory.mktemp("fsdp")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.headwatch_callbacks.lightning_trainer.fsdp_training",
        root,
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    return root


def checkpoint(folder, name):
    return torch.load(folder / f"{name}.ckpt", weights_only=False)


@pytest.fixture(scope="module")
def trained(folder):
    """The trained model, whole, in this process."""
    module = Sharded()
    module.load_state_dict(checkpoint(folder, "probed")["state_dict"])
    return module.gpt.eval()


def test_a_sharded_training_is_the_same_with_probes(folder):
    probed, bare = (checkpoint(folder, name) for name in ("probed", "bare"))
    assert list(differences(probed["state_dict"], bare["state_dict"])) == []
    assert list(differences(probed["optimizer_states"], bare["optimizer_states"])) == []


def test_a_sharded_model_has_the_effects_of_the_whole_one(folder, trained):
    found = {(entry.label, entry.step): entry for entry in hw.Record.read(folder / "record").effects}
    assert len(found) == 5
    expected = {
        "ablation/z/mean/loss": hw.ablate_heads(trained, PAIRS, metric="loss", engine="hooks"),
        "patching/z/denoise/loss": hw.patch_activations(trained, PAIRS, metric="loss", engine="hooks"),
    }
    for label, effects in expected.items():
        assert abs(torch.tensor(found[label, 2].mean) - effects.mean).max() < 1e-6 < effects.mean.abs().max()
        assert abs(found[label, -1].mean - found[label, 2].mean).max() > 1e-3, "the weights have moved"


def test_a_sharded_model_has_the_scores_of_the_whole_one(folder, trained):
    scores = hw.Record.read(folder / "record").scores
    assert [(entry.label, entry.step) for entry in scores] == [
        ("patterns", -1),
        ("gradients", 1),
        ("gradients", 2),
        ("patterns", 2),
    ]
    expected = hw.head_scores(trained, PAIRS.clean, PAIRS.attention_mask).as_dict()
    for name, values in scores[-1].scores.items():
        assert abs(torch.tensor(values) - expected[name]).max() < 1e-6


def test_a_full_checkpoint_is_validated_under_the_same_strategy(folder, trained):
    [entry] = hw.Record.read(folder / "validated").effects
    effects = hw.ablate_heads(trained, PAIRS, metric="loss", engine="hooks")
    assert entry.step == 2
    assert abs(torch.tensor(entry.mean) - effects.mean).max() < 1e-6


def test_what_can_not_be_served_is_refused_by_all_processes(folder):
    for rank in (0, 1):
        products, background = (folder / f"rank{rank}").read_text().splitlines()
        assert "under ModelParallelStrategy with tensor parallelism: train on" in products
        assert background.startswith(
            "background can't take effect under ModelParallelStrategy, where no process has"
        )
