"""A pass before the first step has a place of its own, at −1, in all that a record is read by."""

import json

import pytest
import torch
from typer.testing import CliRunner

import headwatch as hw
from headwatch.record import Record, RecordWriter
from headwatch.record.fields import Fields
from headwatch_callbacks.cli import app
from tests.headwatch.record.test_record import MODEL, some_effects
from tests.models import random_pairs

LABEL = "ablation/z/mean/loss"


@pytest.fixture
def run(tmp_path):
    """A record with a pass before training and one after each of two steps, on the same pairs."""
    with RecordWriter(tmp_path / "run", name="run", model=MODEL) as writer:
        for seed, step in enumerate((-1, 0, 1)):
            effects = some_effects(seed)
            writer.effects(step, 0, "ablation", LABEL, effects, 0.0, pairs=random_pairs(lengths=[5] * 5))
            writer.scores(step, 0, "scores", {"induction": torch.full((2, 3), float(step))}, 0.0)
            writer.patterns(step, 0, "maps", torch.full((1, 2, 3, 1, 1), 1.0 + min(step, 0) / 2), [["x"]])
    return writer.directory


def test_a_record_keeps_it_beside_the_pass_after_the_first_step(run):
    record = Record.read(run)
    assert record.problems == ()
    assert [entry.step for entry in record.effects] == [-1, 0, 1]
    assert [entry.scores["induction"][0, 0] for entry in record.scores] == [-1, 0, 1]
    assert [record.patterns(step).maps[0].max() for step in (-1, 0)] == pytest.approx([0.5, 1], abs=0.002)
    for seed, entry in enumerate(record.effects):
        assert entry.mean == pytest.approx(some_effects(seed).mean.numpy())


def test_its_files_have_names_that_no_shell_takes_for_an_option(run):
    files = [file.name for folder in ("attn", "per_pair") for file in (run / folder).iterdir()]
    assert sorted(files) == sorted(["untrained.npz", "0.npz", "1.npz"] * 2)


def test_passes_are_compared_with_it(run):
    change = hw.compare(run, -1, 0)
    expected = some_effects(1).mean - some_effects(0).mean
    assert change.mean == pytest.approx(expected.numpy(), abs=0.01)
    assert "step -1 (before training) to step 0" in change.title


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["top", "--step", "-1"], "step -1 (before training)"),
        (["top", "--step", "0"], f"{LABEL}, step 0"),
        (["compare", "--from", "-1", "--to", "1"], "step -1 (before training) to step 1"),
    ],
)
def test_the_terminal_shows_it(run, arguments, said):
    command, *options = arguments
    shown = CliRunner().invoke(app, [command, str(run), *options, "--count", "1"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert said in " ".join(shown.output.split())


@pytest.mark.parametrize("step", [-2, -5, True, 1.0, "-1", None])
def test_no_other_step_below_zero_is_read(step):
    line = Fields(json.loads(json.dumps({"step": step})))
    with pytest.raises(ValueError, match="'step' must be a whole number from 0 up"):
        line.step("step")
