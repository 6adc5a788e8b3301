"""Two processes, by torchrun: the first one writes, both find what one finds, nobody hangs, training is the same."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from headwatch.ablation import ablate_heads
from headwatch.record import Record, RecordWriter
from tests.models import random_pairs, tiny_gpt2

KINDS = ("bare", "probed", "slow", "refused")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of trainings of two processes."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        (folder / kind).mkdir()
    with RecordWriter(folder / "refused" / "record", name="another", model={}):
        pass
    places = [text for kind in KINDS for text in (str(folder / kind), kind)]
    torchrun = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    ]
    command = [*torchrun, "-m", "tests.headwatch_callbacks.hf_trainer.two_processes", *places]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    return folder


@pytest.fixture(scope="module")
def trained(runs):
    """The weights that each process of each kind came to."""
    return {
        (kind, rank): torch.load(runs / kind / f"trained{rank}.pt") for kind in KINDS[:3] for rank in (0, 1)
    }


@pytest.mark.parametrize("kind", KINDS[1:3])
@pytest.mark.parametrize("rank", [0, 1])
def test_training_is_the_same_bit_for_bit(trained, kind, rank):
    wanted, found = trained["bare", rank], trained[kind, rank]
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_the_first_process_writes_and_two_find_what_one_finds(runs, trained):
    record = Record.read(runs / "probed" / "record")
    assert record.problems == ()
    assert [entry.step for entry in record.effects] == [0, 2, 3]
    assert [entry.step for entry in record.frames] == [0, 3]
    lines = (runs / "probed" / "record" / "probes.jsonl").read_text()
    assert lines.count('"type":"effects"') == 3
    model = tiny_gpt2()
    model.load_state_dict(trained["bare", 0])
    wanted = ablate_heads(model, random_pairs(n=7), kind="mean", metric="loss")
    np.testing.assert_allclose(record.effects[-1].mean, wanted.mean.numpy(), rtol=0, atol=1e-6)
    assert (runs / "probed" / "record" / "report.html").is_file()


def test_a_pass_longer_than_the_timeout_ends_no_training(runs):
    assert [entry.label for entry in Record.read(runs / "slow" / "record").scores] == ["sleeping"]


def test_what_the_first_process_refuses_ends_both(runs):
    first, second = ((runs / "refused" / f"error{rank}").read_text() for rank in (0, 1))
    assert "already holds the record of another run" in first
    assert first.startswith("ValueError")
    assert "already holds the record of another run" in second
