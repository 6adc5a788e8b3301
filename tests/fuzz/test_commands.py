"""Command lines of any kind: a command works, or says in a sentence why it doesn't, and never with a traceback."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwatch_callbacks.cli import app
from tests.fuzz.strategies import share
from tests.headwatch.page.fake_run import write_run

COMMANDS = [
    name.split()
    for name in ("top", "events", "compare", "report", "export", "pairs check", "pairs make", "eval", "")
]
OPTIONS = [
    "--from",
    "--to",
    "--at",
    "--label",
    "--series",
    "--step",
    "--count",
    "-n",
    "--output",
    "-o",
    "--format",
    "--task",
    "--tokenizer",
    "--model",
    "--seed",
    "--pairs",
    "--probe",
    "--kind",
    "--site",
    "--metric",
    "--layers",
    "--heads",
    "--given",
    "--budget",
    "--target-stderr",
    "--batch-size",
    "--config",
    "--prefix",
    "--devices",
    "--accelerator",
    "--record",
    "--name",
    "--by-position",
    "--help",
    "--q",
    "--precision",
]
VALUES = [
    "RUN",
    "RUNS",
    "PAIRS",
    "EMPTY",
    "MISSING",
    "OUT.csv",
    "OUT.html",
    "OUT.parquet",
    "OUT.png",
    "0",
    "1",
    "-1",
    "10",
    "1.5",
    "nan",
    "inf",
    "1e400",
    "a,b",
    "1,,2",
    "L0H0",
    "L9",
    "ioi",
    "induction",
    "loss",
    "kl",
    "ablation",
    "patching",
    "patterns",
    "ablation,ablation",
    ",",
    "zero",
    "resample",
    "z",
    "q",
    "2%",
    "exact",
    "auto",
    "cpu",
    "tpu",
    "csv",
    "../x",
    "[red]",
    "٣",
]
VALUES += ["", " ", "\ud800", "\x00", "9" * 30]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run, several runs, a file of pairs and an empty folder, in which commands are run."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("RUN", "RUNS/a", "RUNS/b"):
        write_run(folder / name, passes=3, frames=1, prompts=1, series=1, by_position=False)
    (folder / "EMPTY").mkdir()
    pair = {"clean": [1, 2], "corrupted": [3, 2], "answer": 4, "foil": 5}
    (folder / "PAIRS").write_text(json.dumps(pair) + "\n")
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module", autouse=True)
def _no_hub():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@share(0.2)
@given(st.sampled_from(COMMANDS), st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES), max_size=6))
def test_a_command_works_or_says_why_not(place, command, rest):
    result = CliRunner().invoke(app, [*command, *rest], env={"COLUMNS": "200"})
    assert isinstance(result.exception, SystemExit | None), repr(result.exception)
    assert result.exit_code in (0, 1, 2, 3), result.output
    assert "Traceback" not in result.output
    said = [line for line in result.output.splitlines() if line.startswith("headwatch:")]
    assert result.exit_code != 1 or said or "wrong" in result.output, result.output
