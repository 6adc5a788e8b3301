"""wandb's helper process is killed, and the disk fills, in the middle of a training: the training must end well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def train(how: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = ["-m", "tests.headwatch_callbacks.trackers.failing_wandb", how, str(folder)]
    # A helper that an earlier test started would be shared by this variable, and is not this training's to kill.
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return subprocess.run(
        [sys.executable, *program], cwd=ROOT, env=own, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def full_disk(tmp_path):
    """A file system of one megabyte."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mount.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mount.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_killed_helper_is_told_once_and_training_goes_on(tmp_path):
    ended = train("kill", tmp_path)
    assert ended.returncode == 0, ended.stderr
    [warned, last] = ended.stdout.strip().splitlines()[-2:]
    assert "nothing more to WandbLogger" in warned
    assert "taken out of trainer.loggers" in warned
    assert last == "ended at 12"
    assert ended.stdout.count("warned:") == 1


def test_a_full_disk_is_told_once_and_training_goes_on(full_disk):
    ended = train("fill", full_disk)
    assert ended.returncode == 0, ended.stderr
    [warned, last] = ended.stdout.strip().splitlines()[-2:]
    assert "nothing more to WandbLogger" in warned
    assert "No space left" in warned
    assert last == "ended at 12"
    assert ended.stdout.count("warned:") == 1
