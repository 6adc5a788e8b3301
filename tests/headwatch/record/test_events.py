"""Events and change points of a record: what was planted is found, chance marks what it should, and gaps are said."""

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch.record.per_pair import read_per_pair
from tests.headwatch.record.test_per_pair import pairs_of

LABEL = "ablation/z/mean/loss"
STEPS = tuple(range(0, 1000, 100))


def write(directory, trajectories, steps=STEPS, label=LABEL, pairs=None, **asked):
    """Passes of effects `[step, pair, layer, head]`."""
    with RecordWriter(directory, name="run", model={}) as writer:
        for step, values in zip(steps, trajectories, strict=True):
            asked = {"dims": ("layer", "head"), "site": "z", "kind": "mean", "metric": "loss"} | asked
            per_pair = torch.as_tensor(np.asarray(values), dtype=torch.float32)
            found = Effects(per_pair, torch.ones(len(per_pair)), None, **asked)
            given = pairs_of(len(per_pair)) if pairs is None else pairs
            writer.effects(step, 0, "ablation", label, found, 0.0, pairs=given)
    return directory


def trajectories(jump=0.5, at=4, seed=0, n=64, heads=(6, 6), steps=10):
    """Pairs that keep their level, a little noise of each pass, and head 5 of layer 2 that jumps after pass `at`."""
    random = np.random.default_rng(seed)
    level = random.normal(size=(n, *heads))
    values = level + 0.05 * random.normal(size=(steps, n, *heads))
    values[at:, :, 2, 5] += jump
    return values


def test_the_jump_is_the_event(tmp_path):
    found = hw.events(write(tmp_path, trajectories()))
    jump = max(found, key=lambda event: abs(event.change))
    assert (jump.cell, jump.place, jump.before, jump.after, jump.label) == ("L2H5", (2, 5), 300, 400, LABEL)
    assert jump.low < 0.5 < jump.high
    assert jump.change == pytest.approx(0.5, abs=0.05)
    assert jump.p < 1e-10
    assert (found.comparisons, found.problems) == (9, ())
    # 36 heads in 9 comparisons: q / (1 − q)² = 0.0554 each.
    assert found.by_chance == pytest.approx(9 * 0.0554, rel=0.02)
    assert len(found) <= 4
    assert (
        repr(found)
        == f"Events({len(found)} in 9 comparisons of passes; 0.5 by chance if nothing had changed)"
    )


def test_chance_gives_about_as_many_events_as_is_said(tmp_path):
    runs = [
        hw.events(write(tmp_path / str(seed), trajectories(0.0, seed=seed, n=16, steps=5), STEPS[:5]))
        for seed in range(10)
    ]
    assert [run.comparisons for run in runs] == [4] * 10
    # 2.2 over all ten; the 5 % of 36 heads in 40 comparisons that have p < 0.05 would be 72.
    assert sum(run.by_chance for run in runs) == pytest.approx(2.2, abs=0.05)
    assert 0 < sum(len(run) for run in runs) <= 8


def test_events_come_by_step_and_the_largest_first_within_one(tmp_path):
    values = trajectories()
    values[4:, :, 0, 0] -= 0.4
    values[7:, :, 1, 1] += 0.7
    found = [event for event in hw.events(write(tmp_path, values)) if abs(event.change) > 0.3]
    assert [(event.after, event.cell) for event in found] == [(400, "L2H5"), (400, "L0H0"), (700, "L1H1")]


def test_a_table_has_a_row_an_event(tmp_path):
    found = hw.events(write(tmp_path, trajectories()))
    table = found.to_dataframe()
    assert len(table) == len(found) > 0
    assert table[table.cell == "L2H5"].after.tolist() == [400]
    empty = hw.events(write(tmp_path / "flat", trajectories()[:1], STEPS[:1]))
    assert [*empty.to_dataframe()] == [*table]


def test_one_series_or_all(tmp_path):
    write(tmp_path, trajectories(at=6))
    write(tmp_path, trajectories(), label="second")
    jumps = [event for event in hw.events(tmp_path) if abs(event.change) > 0.3]
    assert [(event.label, event.after) for event in jumps] == [("second", 400), (LABEL, 600)]
    assert {event.label for event in hw.events(tmp_path, label="second")} == {"second"}
    with pytest.raises(ValueError, match=f"no series 'third': it has .*{LABEL}"):
        hw.events(tmp_path, label="third")


def test_passes_that_cannot_be_compared_are_said(tmp_path):
    values = trajectories()
    write(tmp_path, values[:5], STEPS[:5])
    write(tmp_path, values[5:8], STEPS[5:8], pairs=pairs_of(64, shift=1))
    write(tmp_path, values[8:], STEPS[8:], pairs=pairs_of(64, shift=1))
    (tmp_path / "per_pair" / "200.npz").unlink()
    found = hw.events(tmp_path)
    # 9 passes are left, of which 400 and 500 are on different pairs.
    assert found.comparisons == 7
    missing, others = sorted(found.problems, key=len)[::-1]
    said = " ".join((missing, others))
    assert "200.npz is missing" in said
    assert "0 pairs in common at steps 400 and 500" in said


def test_the_change_point_is_where_the_jump_is(tmp_path):
    series = hw.change_points(write(tmp_path, trajectories()))
    assert (series.label, series.steps, series.dims) == (LABEL, STEPS, ("layer", "head"))
    assert (series.found.step[2, 5], series.found.low[2, 5], series.found.high[2, 5]) == (350, 300, 400)
    assert series.found.significant()[2, 5]
    assert series.found.after[2, 5] - series.found.before[2, 5] == pytest.approx(0.5, abs=0.02)
    # Before the jump is seen there is none.
    early = hw.change_points(tmp_path, label=LABEL, up_to=300)
    assert early.steps == STEPS[:4]
    assert not early.found.significant()[2, 5]


def test_only_passes_on_the_pairs_of_the_last_one_count(tmp_path):
    values = trajectories()
    write(tmp_path, values[:3], STEPS[:3], pairs=pairs_of(64, shift=1))
    write(tmp_path, values[3:], STEPS[3:])
    assert hw.change_points(tmp_path).steps == STEPS[3:]


def test_only_passes_of_the_last_ones_question_count(tmp_path):
    values = trajectories()
    write(tmp_path, values[:2], STEPS[:2], metric="logit_diff")
    write(tmp_path, values[2:], STEPS[2:])
    assert hw.change_points(tmp_path).steps == STEPS[2:]


def test_passes_on_half_of_the_pairs_count_and_on_fewer_do_not(tmp_path):
    values, pairs = trajectories(), pairs_of(64)
    for at, n in enumerate((64, 32, 64, 20, 64, 40, 64, 64, 31, 64)):
        rows = list(range(64 - n, 64))
        write(tmp_path, values[at : at + 1, rows], STEPS[at : at + 1], pairs=pairs[rows])
    series = hw.change_points(tmp_path)
    assert series.steps == (0, 100, 200, 400, 500, 600, 700, 900)
    known = np.delete(values, (3, 8), axis=0)[:, 32:, 2, 5]
    assert series.found.before[2, 5] == pytest.approx(known[:3].mean(), abs=0.002)
    assert (series.found.low[2, 5], series.found.high[2, 5]) == (200, 400)


def test_too_few_passes_several_series_and_none_are_one_sentence(tmp_path):
    write(tmp_path, trajectories()[:3], STEPS[:3])
    with pytest.raises(
        ValueError, match=f"{LABEL} has 3 passes with values of every pair on the same pairs: .* needs 4"
    ):
        hw.change_points(tmp_path)
    (tmp_path / "per_pair" / "200.npz").unlink()
    with pytest.raises(ValueError, match=r"has 2 passes .*200\.npz is missing"):
        hw.change_points(tmp_path)
    write(tmp_path, trajectories()[:1], STEPS[:1], label="second")
    with pytest.raises(ValueError, match="has 2 series, name one as label"):
        hw.change_points(tmp_path)
    RecordWriter(tmp_path / "empty", name="run", model={}).close()
    with pytest.raises(ValueError, match="has 0 series"):
        hw.change_points(tmp_path / "empty")


def test_estimates_have_a_change_point_too(tmp_path):
    """Passes of which only some pairs had an exact run, with a covariate for the others."""
    values = trajectories().astype(np.float32)
    write(tmp_path, values)
    for entry in hw.Record.read(tmp_path).effects:
        kept = read_per_pair(tmp_path, entry)
        exact = kept.exact.copy()
        exact[12:] = np.nan
        with (tmp_path / "per_pair" / entry.per_pair).open("wb") as stream:
            type(kept)(exact, kept.exact + 0.3, kept.pairs).save(stream)
    series = hw.change_points(tmp_path)
    assert series.found.step[2, 5] == 350
    assert series.found.before[0, 0] == pytest.approx(values[:, :, 0, 0].mean(), abs=0.02)
