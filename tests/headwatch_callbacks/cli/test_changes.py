"""`compare`, `events`, and since when in `top`: what the terminal says of a run in which one head jumps."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch_callbacks.cli import app
from tests.headwatch.record.test_events import STEPS, trajectories, write
from tests.headwatch.record.test_per_pair import pairs_of

LABEL = "ablation/z/mean/loss"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.fixture
def record(tmp_path):
    """Ten passes of 64 pairs over 36 heads: L2H5 jumps by 0.5 between steps 300 and 400."""
    return write(tmp_path / "run", trajectories())


def change_of(values, first, last, layer, head):
    """The mean change of a head, and 2 · its standard error, which is the t interval of 64 pairs to within 1 %."""
    pairs = values[last, :, layer, head] - values[first, :, layer, head]
    return pairs.mean(), 2 * pairs.std(ddof=1) / len(pairs) ** 0.5


def test_compare_marks_what_is_more_than_noise(record):
    shown = run("compare", record, "--from", 300, "--to", 400, "--top", 2)
    change, half = change_of(trajectories(), 3, 4, 2, 5)
    assert f"{LABEL}, step 300 to step 400, 64 pairs" in shown
    before, after = (trajectories()[at, :, 2, 5].mean() for at in (3, 4))
    row = shown.partition("│ L2H5 │")[2]
    cells = [cell.strip() for cell in row.split("│")[:5]]
    assert [float(cell) for cell in cells[:3]] == pytest.approx([before, after, change], abs=0.002)
    assert float(cells[3]) == pytest.approx(half, rel=0.06)
    assert cells[4] == "●"
    assert shown.count("│ L") == 2
    assert "of 36 marked, 0.055 by chance if nothing had changed" in shown
    assert "● more than noise: false discovery rate 5 % over 36 cells (Benjamini-Hochberg)" in shown


def test_compare_of_two_steps_without_a_change_marks_no_large_one(record):
    shown = run("compare", record, "--from", 0, "--to", 200, "-n", 36)
    row = shown.partition("│ L2H5 │")[2]
    assert row.split("│")[4].strip() == ""


def test_compare_of_two_runs(record, tmp_path):
    other = write(tmp_path / "other", trajectories(jump=1.5))
    shown = run("compare", record, other, "--at", 400, "-n", 1)
    assert "run step 400 to run step 400" in shown
    assert float(shown.partition("│ L2H5 │")[2].split("│")[2]) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    "options",
    [
        ["--from", 0],
        ["--to", 100],
        [],
        ["--at", 100],
        ["--from", 0, "--to", 100, "--at", 100],
    ],
)
def test_compare_without_two_steps_or_two_runs_is_a_usage_error(record, options):
    assert "say RUN --from STEP --to STEP, or RUN OTHER --at STEP" in run("compare", record, *options, code=2)


def test_two_runs_take_no_two_steps(record):
    run("compare", record, record, "--from", 0, "--to", 100, code=2)
    run("compare", record, record, record, "--at", 100, code=2)


def test_compare_says_in_one_sentence_what_is_not_there(record):
    shown = run("compare", record, "--from", 0, "--to", 150, code=1)
    assert shown == f"headwatch: {record} has no pass at step 150: the nearest are at 0, 100, 200"


def test_compare_by_position_and_of_one_pair(tmp_path):
    values = np.zeros((2, 8, 1, 2, 3))
    values[1, :, 0, 1, 2] = np.linspace(0.9, 1.1, 8)
    write(tmp_path / "positions", values, STEPS[:2], dims=("layer", "head", "position"))
    shown = run("compare", tmp_path / "positions", "--from", 0, "--to", 100)
    assert "each head at its strongest position" in shown
    assert "before" not in shown
    assert shown.partition("│ L0H1 │")[2].split("│")[0].strip() == "+0.9999"  # kept to within 0.05 %
    write(tmp_path / "single", np.ones((2, 1, 1, 2)), STEPS[:2])
    said = run("compare", tmp_path / "single", "--from", 0, "--to", 100, code=1)
    assert said.endswith("1 pair in common at steps 0 and 100: a comparison pair by pair needs 2 or more")


def test_events_lists_the_jump_and_what_chance_would_list(record):
    shown = run("events", record)
    change, half = change_of(trajectories(), 3, 4, 2, 5)
    cells = shown.partition(f"│ 300–400 │ {LABEL} │ L2H5 │")[2].split("│")
    assert float(cells[0]) == pytest.approx(change, abs=0.002)
    low, high = map(float, cells[1].split(" to "))
    assert (low, high) == pytest.approx((change - half, change + half), abs=0.003)
    assert "in 9 comparisons of a pass with the one before" in shown
    assert "if nothing had changed, chance would list 0.5" in shown


def test_events_says_which_passes_were_not_compared(record):
    (record / "per_pair" / "200.npz").unlink()
    shown = run("events", record, "--label", LABEL)
    assert "in 8 comparisons" in shown
    assert "200.npz is missing" in shown


def test_top_says_since_when(record):
    shown = run("top", record, "-n", 36)
    assert shown.partition("│ L2H5 │")[2].split("│")[4].strip() == "350 ± 50"
    assert "since: the step of each trajectory's largest shift over 10 passes" in shown
    # The other heads have no shift that is more than noise.
    assert shown.count("±") <= 6
    # Before the jump there is none.
    early = run("top", record, "-n", 36, "--step", 300)
    assert early.partition("│ L2H5 │")[2].split("│")[4].strip() == ""


def test_top_of_few_passes_has_no_such_column(tmp_path):
    write(tmp_path / "run", trajectories()[:3], STEPS[:3])
    assert "since" not in run("top", tmp_path / "run")


def test_top_says_since_when_of_layers(tmp_path):
    values = np.random.default_rng(0).normal(size=(1, 20, 2)) + np.zeros((6, 20, 2))
    values[3:, :, 1] += 2.0
    values += 0.01 * np.random.default_rng(1).normal(size=values.shape)
    write(tmp_path / "run", values, STEPS[:6], dims=("layer",))
    assert run("top", tmp_path / "run").partition("│ L1 │")[2].split("│")[4].strip() == "250 ± 50"


def test_top_says_how_an_estimate_was_made_and_which_heads_to_doubt(tmp_path):
    from dataclasses import replace

    from headwatch.record import Record

    found = Effects(
        torch.randn(8, 1, 2), torch.ones(8), None, ("layer", "head"), "z", "mean", "loss", exact=False
    )
    with RecordWriter(tmp_path, name="run", model={}) as writer:
        writer.effects(1, 0, "ablation", LABEL, found, 0.0, pairs=pairs_of(8))
        entry = Record.read(tmp_path).effects[0]
        assert "over 8 pairs, first-order;" in run("top", tmp_path)
        several = np.array([[4, 7]])
        writer._append(replace(entry, n_exact=several, suspect=np.array([[True, False]])))
    shown = run("top", tmp_path)
    assert "over 8 pairs, estimated from 4 to 7 exact runs; not intervened 1;" in shown
    assert "? interval not to be trusted" in shown
    assert "?" in shown.partition("│ L0H0 │")[2].split("│")[2]
    assert "?" not in shown.partition("│ L0H1 │")[2].split("│")[2]
