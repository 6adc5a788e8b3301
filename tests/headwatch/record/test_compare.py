"""Two passes on the same pairs are compared pair by pair; expected values are worked out by hand or in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects
from headwatch.record import Record, RecordWriter, from_effects
from headwatch.record.comparison import comparison
from headwatch.record.per_pair import PerPair
from headwatch.statistics.paired import paired_difference
from tests.headwatch.record.test_per_pair import numbered, pairs_of

MODEL = {"n_layers": 1, "n_heads": 2}
LABEL = "ablation/z/mean/loss"
# Pairs differ far more among each other than any of them changes: head 0 by 1, 2 and 3, head 1 by 1, −1 and 0.
BEFORE = [[[100.0, 10.0]], [[-300.0, 5.0]], [[50.0, -20.0]]]
AFTER = [[[101.0, 11.0]], [[-298.0, 4.0]], [[53.0, -20.0]]]


def effects_of(values, **others):
    per_pair = torch.tensor(values)
    asked = {"dims": ("layer", "head"), "site": "z", "kind": "mean", "metric": "loss"} | others
    return Effects(per_pair, torch.ones(len(per_pair)), torch.zeros(len(per_pair)), **asked)


def write(directory, step, values, label=LABEL, pairs=None, model=MODEL, probe="ablation", **others):
    pairs = pairs_of(len(values)) if pairs is None else pairs
    with RecordWriter(directory, name=directory.name, model=model) as writer:
        writer.effects(step, 0, probe, label, effects_of(values, **others), 0.0, pairs=pairs)
    return directory


@pytest.fixture
def run(tmp_path):
    write(tmp_path / "run", 400, BEFORE)
    return write(tmp_path / "run", 600, AFTER)


def test_a_change_is_that_of_the_pairs_with_their_own_spread_out_of_the_noise(run):
    change = hw.compare(run, 400, 600)
    # Values are kept to within 0.15 of the largest, 300: 1, 2 and 3 are seen to within that.
    np.testing.assert_allclose(change.mean, [[2.0, 0.0]], atol=0.2)
    assert change.stderr[0, 0] == pytest.approx(1 / math.sqrt(3), abs=0.12)
    assert change.stderr[0, 1] == pytest.approx(1 / math.sqrt(3), abs=0.02)
    assert (change.before.step, change.after.step, change.dims) == (400, 600, ("layer", "head"))
    # The two means alone differ by 2 ± 170.
    assert change.before.stderr[0, 0] > 100


def test_the_p_value_and_the_interval_are_those_of_a_paired_t_test():
    pairs, zeros = numbered(3), np.zeros((3, 1, 1), np.float32)
    after = np.array([1.0, 2.0, 3.0], np.float32).reshape(3, 1, 1)
    entry = entry_of(np.array([[2.0]], np.float32))
    change = comparison(
        replace(entry, step=400), entry, PerPair(zeros, None, pairs), PerPair(after, None, pairs)
    )
    # Student's t with 2 degrees of freedom has P(|T| > t) = 1 − t / √(t² + 2), and 95 % within 4.3027.
    t = 2 * math.sqrt(3)
    assert change.p_values()[0, 0] == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-6)
    low, high = change.interval(0.95)
    assert (low[0, 0], high[0, 0]) == pytest.approx(
        (2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), rel=1e-4
    )


def entry_of(mean, **others):
    per_pair = torch.from_numpy(mean)[None].expand(3, *mean.shape)
    asked = effects_of(np.asarray(per_pair).tolist())
    return replace(
        from_effects.entry_of(asked, step=600, epoch=0, probe="ablation", label=LABEL, seconds=0.0), **others
    )


def test_covariates_stand_in_for_the_pairs_without_an_exact_run():
    random = np.random.default_rng(0)
    covariates = random.normal(size=(2, 50, 1, 3)).astype(np.float32)
    exact = (covariates + 0.1 * random.normal(size=covariates.shape)).astype(np.float32)
    exact[:, 8:] = np.nan
    pairs = numbered(50)
    entry = replace(entry_of(np.zeros((1, 3), np.float32)), n=50, exact=False, n_exact=np.full((1, 3), 8))
    sides = [PerPair(values, known, pairs) for values, known in zip(exact, covariates, strict=True)]
    change = comparison(replace(entry, step=400), entry, *sides)
    c, r = covariates[1] - covariates[0], ((exact - covariates)[1] - (exact - covariates)[0])[:8]
    np.testing.assert_allclose(change.mean, c.mean(0) + r.mean(0), rtol=1e-4)
    assert (change.stderr < c.std(0) / 8**0.5).all()


def test_a_sweep_of_all_pairs_is_compared_with_an_estimate():
    pairs, all_of = numbered(20), np.random.default_rng(0).normal(size=(20, 1, 2)).astype(np.float32)
    few = all_of + 1
    few[6:] = np.nan
    entry = replace(entry_of(np.zeros((1, 2), np.float32)), n=20)
    estimated = replace(entry, step=700, exact=False, n_exact=np.full((1, 2), 6))
    change = comparison(entry, estimated, PerPair(all_of, None, pairs), PerPair(few, all_of + 0.5, pairs))
    np.testing.assert_allclose(change.mean, [[1.0, 1.0]], rtol=1e-5)


def test_marks_are_made_over_all_heads_and_chance_is_told(tmp_path):
    random = np.random.default_rng(3)
    before = random.normal(size=(64, 12, 12))
    noise = 0.05 * random.normal(size=before.shape)
    noise[:, 2, 7] += 0.2
    model = {"n_layers": 12, "n_heads": 12}
    for step, values in ((400, before), (600, before + noise)):
        write(tmp_path / "run", step, values.tolist(), model=model)
    change = hw.compare(tmp_path / "run", 400, 600)
    marked = change.significant(q=0.05)
    assert marked[2, 7]
    assert change.top(1) == [(2, 7)]
    # Of the heads that didn't change, about 7 have p < 0.05.
    assert marked.sum() <= 2 < (change.p_values() < 0.05).sum()
    assert change.expected_by_chance() == pytest.approx(0.05 / 0.95**2, rel=0.01)
    # Each mean alone has a standard error of 1/8, the change of 0.2 has one of 0.006.
    unpaired = (change.before.stderr**2 + change.after.stderr**2) ** 0.5
    assert (change.stderr < 0.1 * unpaired).all()


def test_identical_passes_have_no_change(tmp_path):
    for step in (1, 2):
        write(tmp_path / "run", step, BEFORE)
    change = hw.compare(tmp_path / "run", 1, 2)
    assert change.mean.tolist() == [[0.0, 0.0]]
    assert change.p_values().tolist() == [[1.0, 1.0]]
    assert not change.significant().any()


def test_a_pair_without_a_number_makes_its_head_nan(tmp_path):
    write(tmp_path / "run", 1, BEFORE)
    write(tmp_path / "run", 2, [[[math.nan, 1.0]], *BEFORE[1:]])
    change = hw.compare(tmp_path / "run", 1, 2)
    assert np.isnan(change.mean).tolist() == [[True, False]]
    assert np.isnan(change.p_values()).tolist() == [[True, False]]
    assert change.top() == [(0, 1)]


def test_two_runs_are_compared_at_one_step_or_at_two(run, tmp_path):
    other = write(tmp_path / "other", 600, BEFORE)
    change = hw.compare(Record.read(run), 600, other=other)
    assert change.runs == ("run", "other")
    np.testing.assert_allclose(change.mean, [[-2.0, 0.0]], atol=0.2)
    assert change.title == f"{LABEL}, run step 600 to other step 600, 3 pairs"
    np.testing.assert_allclose(hw.compare(run, 400, 600, other=other).mean, 0, atol=1e-6)


def test_a_label_chooses_among_series(run):
    for step, values in ((400, AFTER), (600, BEFORE)):
        write(run, step, values, label="second")
    with pytest.raises(ValueError, match=r"several series, name one as label: \['ablation.*', 'second'\]"):
        hw.compare(run, 400, 600)
    assert hw.compare(run, 400, 600, label="second").mean[0, 0] == pytest.approx(-2, abs=0.2)


def test_the_only_series_that_keeps_values_of_every_pair_needs_no_label(run):
    with RecordWriter(run, name="run", model=MODEL) as writer:
        for step in (400, 600):
            writer.effects(step, 0, "ablation", "second", effects_of(BEFORE), 0.0)
    assert hw.compare(run, 400, 600).after.label == LABEL
    with pytest.raises(ValueError, match="keeps no values of every pair for second at step 400"):
        hw.compare(run, 400, 600, label="second")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            {"metric": "logit_diff"},
            "has metric 'loss' and 'logit_diff' at steps 400 and 601: compare passes of one",
        ),
        ({"kind": "zero"}, "has kind 'mean' and 'zero'"),
        ({"site": "mlp_out"}, "has site 'z' and 'mlp_out'"),
        ({"probe": "patching"}, "has probe 'ablation' and 'patching'"),
        ({"dims": ("layer", "neuron")}, "has dims"),
        ({"coords": {"layer": (0,), "head": (0, 2)}}, "has coords"),
        ({"exact": False}, "exact at one of steps 400 and 601 and first-order at the other"),
        (
            {"pairs": pairs_of(3, shift=1)},
            "has 0 pairs in common at steps 400 and 601: a comparison pair by pair needs 2",
        ),
    ],
)
def test_passes_that_were_measured_otherwise_are_refused(run, others, said):
    write(run, 601, AFTER, **others)
    with pytest.raises(ValueError, match=said) as told:
        hw.compare(run, 400, 601)
    assert "\n" not in str(told.value)


def test_passes_on_more_and_fewer_pairs_are_compared_on_those_that_both_have(tmp_path):
    write(tmp_path / "run", 400, BEFORE)
    write(tmp_path / "run", 600, [AFTER[2], AFTER[0]], pairs=pairs_of(3)[[2, 0]])
    change = hw.compare(tmp_path / "run", 400, 600)
    assert change.n == 2
    assert ", 2 pairs" in change.title
    np.testing.assert_allclose(change.mean, [[2.0, 0.5]], atol=0.2)
    np.testing.assert_allclose(hw.compare(tmp_path / "run", 600, 400).mean, -change.mean)
    write(tmp_path / "run", 700, AFTER[:1], pairs=pairs_of(3)[[0]])
    with pytest.raises(ValueError, match="1 pair in common at steps 400 and 700"):
        hw.compare(tmp_path / "run", 400, 700)


@pytest.mark.parametrize(
    ("steps", "options", "said"),
    [
        ((400,), {}, "step 400 would be compared with itself"),
        ((400, 400), {}, "step 400 would be compared with itself"),
        ((400, 590), {}, "no pass at step 590: the nearest are at 400, 600"),
        ((400, 590), {"label": LABEL}, f"no pass of '{LABEL}' at step 590: the nearest are at 400, 600"),
        ((400, 600), {"label": "x"}, f"has no effects of 'x'; its series: {LABEL}"),
    ],
)
def test_what_is_not_there_is_one_sentence(run, steps, options, said):
    with pytest.raises(ValueError, match=said):
        hw.compare(run, *steps, **options)


def test_steps_without_a_series_in_common_and_models_of_another_size_are_refused(run, tmp_path):
    write(run, 700, AFTER, label="second")
    with pytest.raises(ValueError, match="no series has a pass at step 400 and at step 700"):
        hw.compare(run, 400, 700)
    other = write(tmp_path / "other", 400, BEFORE, model={"n_layers": 5})
    with pytest.raises(
        ValueError, match=r"n_layers 1 and .* of one with 5: compare runs of models of one size"
    ):
        hw.compare(run, 400, other=other)


def test_a_missing_file_is_said(run):
    (run / "per_pair" / "600.npz").unlink()
    with pytest.raises(ValueError, match=r"600\.npz is missing: copy a run's whole folder"):
        hw.compare(run, 400, 600)


def test_one_line_a_table_and_a_picture_show_it(run):
    change = hw.compare(run, 400, 600)
    assert repr(change).startswith(
        f"Comparison({LABEL}, step 400 to step 600, 3 pairs; 0 of 2 marked, most L0H0 +2"
    )
    table = change.to_dataframe()
    assert [*table] == [
        "layer",
        "head",
        "before",
        "after",
        "mean",
        "stderr",
        "low",
        "high",
        "p",
        "significant",
    ]
    assert table.before.tolist() == pytest.approx([-50.0, -5 / 3], rel=1e-5)
    np.testing.assert_array_equal(table["mean"], change.mean.ravel())
    axes = change.plot()
    assert axes.get_title() == change.title
    np.testing.assert_array_equal(axes.images[0].get_array(), change.mean)
    assert "change of the effect on loss" in change._repr_html_()


def test_heads_that_are_not_to_be_trusted_on_either_side_are_in_the_map():
    entry = entry_of(np.zeros((1, 3), np.float32))
    before, after = (
        replace(entry, suspect=np.array([marks])) for marks in ([True, False, False], [False, False, True])
    )
    values = PerPair(np.ones((3, 1, 3), np.float32), None, numbered(3))
    assert comparison(before, after, values, values).cell_map().suspect.tolist() == [[True, False, True]]
    assert comparison(entry, entry, values, values).cell_map().suspect is None


def test_a_covariate_of_one_side_alone_is_what_the_paired_statistics_make_of_it():
    random = np.random.default_rng(5)
    first, second, known = random.normal(size=(3, 10, 1, 1)).astype(np.float32)
    second[4:] = np.nan
    entry = replace(entry_of(np.zeros((1, 1), np.float32)), n=10)
    found = comparison(entry, entry, PerPair(first, None, numbered(10)), PerPair(second, known, numbered(10)))
    expected = paired_difference(first, second, covariate_after=known)
    np.testing.assert_array_equal(found.p_values(), expected.p)


def test_a_pair_without_a_number_makes_its_head_nan_beside_an_estimate_too():
    whole, known = np.ones((2, 4, 1, 2), np.float32)
    whole[0, 0, 0] = np.nan
    entry = entry_of(np.array([[np.nan, 1.0]], np.float32))
    estimate = replace(entry_of(np.ones((1, 2), np.float32)), exact=False, n_exact=np.full((1, 2), 4))
    found = comparison(entry, estimate, PerPair(whole, None, numbered(4)), PerPair(known, known, numbered(4)))
    assert found.mean.tolist()[0][1] == 0
    assert np.isnan(found.mean[0, 0])


def test_the_map_has_the_intervals_of_the_change():
    random = np.random.default_rng(6)
    known = random.normal(size=(40, 1, 2)).astype(np.float32)
    exact = known + random.normal(size=known.shape).astype(np.float32)
    exact[4:] = np.nan
    entry = replace(entry_of(np.zeros((1, 2), np.float32)), n=40)
    found = comparison(entry, entry, PerPair(known, known, numbered(40)), PerPair(exact, known, numbered(40)))
    np.testing.assert_array_equal(found.cell_map().high, found.interval()[1])
