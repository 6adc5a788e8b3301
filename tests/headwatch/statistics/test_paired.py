"""Differences on the same pairs, against formulas by hand, Fisher's tables, and populations whose truth is known."""

import numpy as np
import pytest

from headwatch.statistics.intervals import p_values
from headwatch.statistics.paired import PairedDifference, paired_difference


def two_sides(pairs, cells, seed, change=0.5, noise=0.3):
    """Effects that differ much among pairs and little between sides, and covariates that miss by `noise`."""
    random = np.random.default_rng(seed)
    of_pair = 3 * random.standard_normal((pairs, cells))
    before = 1 + of_pair + 0.2 * random.standard_normal((pairs, cells))
    after = 1 + of_pair + change + 0.2 * random.standard_normal((pairs, cells))
    miss = noise * random.standard_normal((2, pairs, cells))
    return before, after, before + 2 + miss[0], after - 1 + miss[1]


def hide(values, first):
    """Only the first pairs were measured."""
    shown = values.copy()
    shown[first:] = np.nan
    return shown


def test_exact_pairs_give_the_plain_paired_t_test():
    before, after, *_ = two_sides(20, 6, seed=0)
    found = paired_difference(before, after)
    change = after - before
    stderr = change.std(0, ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(found.mean, change.mean(0))
    np.testing.assert_allclose(found.stderr, stderr)
    assert (found.degrees_of_freedom == 19).all()
    np.testing.assert_allclose(found.p, p_values(change.mean(0), stderr, 19))
    low, high = found.interval(0.99)
    np.testing.assert_allclose((high - low) / 2 / stderr, 2.861, atol=1e-3)  # printed tables: 19, 99 %
    np.testing.assert_allclose((high + low) / 2, change.mean(0))


@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
def test_covariates_change_nothing_where_all_pairs_are_exact(noise):
    before, after, near_before, near_after = two_sides(20, 6, seed=1, noise=noise)
    plain = paired_difference(before, after)
    found = paired_difference(before, after, covariate_before=near_before, covariate_after=near_after)
    for name in ("mean", "stderr", "degrees_of_freedom", "p"):
        np.testing.assert_allclose(getattr(found, name), getattr(plain, name), rtol=1e-9)


def test_the_formula_pair_by_pair():
    before, after, near_before, near_after = two_sides(30, 1, seed=2)
    found = paired_difference(
        hide(before, 9), hide(after, 7), covariate_before=near_before, covariate_after=near_after
    )
    c = (near_after - near_before)[:, 0]
    r = (after - before)[:7, 0] - c[:7]
    few = r.var(ddof=1) * (1 / 7 - 1 / 30)
    everyone = (c.var(ddof=1) + r.var(ddof=1) + 2 * np.cov(c[:7], r)[0, 1]) / 30
    assert found.mean[0] == pytest.approx(c.mean() + r.mean())
    assert found.stderr[0] == pytest.approx(np.sqrt(few + everyone))
    assert found.degrees_of_freedom[0] == pytest.approx(
        (few + everyone) ** 2 / (few**2 / 6 + everyone**2 / 29)
    )


@pytest.mark.parametrize("change", [0.0, 0.5])
@pytest.mark.parametrize(("few", "noise"), [(4, 0.1), (8, 0.3), (8, 3.0), (32, 0.3), (64, 0.3)])
def test_intervals_cover_the_true_difference_and_p_is_uniform_without_one(few, noise, change):
    draws = 3000
    before, after, near_before, near_after = two_sides(64, draws, seed=3, change=change, noise=noise)
    found = paired_difference(
        hide(before, few), hide(after, 64), covariate_before=near_before, covariate_after=near_after
    )
    low, high = found.interval(0.95)
    assert 0.93 < ((low < change) & (high > change)).mean() < 0.97
    assert np.mean(found.stderr**2) == pytest.approx(found.mean.var(), rel=0.15)
    if change == 0:
        assert np.mean(found.p < 0.05) < 0.07


def test_one_effect_a_pair_is_enough():
    found = paired_difference(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5, 4.5]))
    assert (found.mean.shape, found.mean.item(), found.degrees_of_freedom.item()) == ((), 1.0, 2.0)
    low, high = found.interval()
    assert (high - low).item() / 2 / found.stderr.item() == pytest.approx(4.303, abs=1e-3)


def test_a_side_that_is_exact_needs_no_covariate():
    before, after, _, near_after = two_sides(30, 4, seed=4)
    found = paired_difference(before, hide(after, 8), covariate_after=near_after)
    same = paired_difference(before, hide(after, 8), covariate_before=before, covariate_after=near_after)
    np.testing.assert_array_equal(found.mean, same.mean)
    np.testing.assert_array_equal(found.stderr, same.stderr)
    np.testing.assert_allclose(
        found.mean, (near_after - before).mean(0) + (after - near_after)[:8].mean(0), rtol=1e-12
    )


def test_a_good_covariate_is_worth_the_pairs_that_were_not_measured():
    before, after, near_before, near_after = two_sides(64, 500, seed=5, noise=0.02)
    few = hide(before, 4), hide(after, 4)
    found = paired_difference(*few, covariate_before=near_before, covariate_after=near_after)
    assert np.median(found.stderr) < 1.1 * np.median(paired_difference(before, after).stderr)
    assert np.median(found.stderr) < 0.4 * np.median(paired_difference(*few).stderr)


def test_each_cell_has_its_own_pairs_and_nan_without_two():
    before, after, near_before, near_after = two_sides(10, 4, seed=6)
    before[5:, 0] = after[:2, 1] = before[1:, 2] = np.nan
    plain = paired_difference(before, after)
    np.testing.assert_allclose(plain.mean[0], (after - before)[:5, 0].mean())
    np.testing.assert_allclose(plain.mean[1], (after - before)[2:, 1].mean())
    assert plain.degrees_of_freedom.tolist()[:2] == [4, 7]
    for found in (
        plain,
        paired_difference(before, after, covariate_before=near_before, covariate_after=near_after),
    ):
        for values in (found.mean, found.stderr, found.degrees_of_freedom, found.p, *found.interval()):
            assert np.isnan(values).tolist() == [False, False, True, False]
        assert not found.significant(0.99)[2]


def test_pairs_that_all_change_alike():
    before = np.arange(5.0)[:, None].repeat(2, 1)
    found = paired_difference(before, before + np.array([0.0, 1.0]))
    assert found.p.tolist() == [1, 0]
    assert found.stderr.tolist() == [0, 0]
    assert found.degrees_of_freedom.tolist() == [4, 4]


def test_marks_allow_for_all_heads():
    p = np.array([[0.001, 0.04, 0.9], [0.012, 0.6, np.nan]])  # 0.04 > 0.05 · 3 / 5
    found = PairedDifference(p, p, p, p)
    assert found.significant(0.05).tolist() == [[True, False, False], [True, False, False]]


def test_what_does_not_fit_together_is_refused():
    before, after, near_before, near_after = two_sides(10, 4, seed=7)
    with pytest.raises(
        ValueError, match=r"after has the shape \(9, 4\), before \(10, 4\): give the same pairs"
    ):
        paired_difference(before, after[:9])
    with pytest.raises(ValueError, match=r"covariate_after has the shape \(10, 3\)"):
        paired_difference(before, after, covariate_after=near_after[:, :3])
    with pytest.raises(ValueError, match=r"after lacks pairs .*: give covariate_after too"):
        paired_difference(before, hide(after, 3), covariate_before=near_before)
