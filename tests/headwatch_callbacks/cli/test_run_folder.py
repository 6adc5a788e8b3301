"""A RUN may be the folder around a run: what a training or the demo wrote into."""

import csv

import pytest
import torch
from typer.testing import CliRunner

from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch_callbacks.cli import app


def write(folder, largest=2.0):
    mean = torch.tensor([[0.0, largest]])
    spread = torch.tensor([-0.1, 0.0, 0.1])[:, None, None]
    effects = Effects(mean + spread, torch.ones(3), None, ("layer", "head"), "z", "mean", "loss")
    with RecordWriter(folder, name=folder.name, model={}) as writer:
        writer.effects(5, 0, "ablation", "a", effects, 0.1)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.fixture
def demo(tmp_path):
    """A folder with one run two folders below it, beside other things."""
    write(tmp_path / "demo" / "headwatch_runs" / "first")
    (tmp_path / "demo" / "tokenizer").mkdir()
    return tmp_path / "demo"


def test_the_only_run_below_a_folder_is_found(demo, tmp_path):
    assert "L0H1 │ +2 │" in run("top", demo)
    run("export", demo, "-o", tmp_path / "heads.csv")
    with (tmp_path / "heads.csv").open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == pytest.approx([0.0, 2.0])
    run("report", demo, "-o", tmp_path / "report.html")
    assert "first" in (tmp_path / "report.html").read_text()


def test_a_runs_own_folder_is_that_run_whatever_lies_in_it(demo):
    own = demo / "headwatch_runs" / "first"
    write(own / "copy", largest=3.0)
    assert "L0H1 │ +2 │" in run("top", own)


@pytest.mark.parametrize("command", [["top"], ["export", "-o", "heads.csv"], ["report", "-o", "report.html"]])
def test_several_runs_are_named_in_one_sentence(demo, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = demo / "headwatch_runs"
    write(runs / "second")
    said = f"headwatch: {demo} holds 2 runs, name one of them: {runs / 'first'}, {runs / 'second'}"
    assert run(*command, demo, code=1) == said
    for number in range(6):
        write(runs / f"more{number}")
    assert run(*command, demo, code=1).endswith(f"{runs / 'more3'} and 3 more")
    assert [file.name for file in tmp_path.iterdir()] == ["demo"]


def test_a_folder_without_a_run_and_one_that_is_not_there(tmp_path):
    assert f"{tmp_path} holds no record" in run("top", tmp_path, code=1)
    assert f"{tmp_path / 'gone'} holds no record" in run("top", tmp_path / "gone", code=1)
