"""What a budget pays for, and when a head has enough, on numbers worked out by hand."""

import numpy as np
import pytest

from headwatch.estimates.budget import Budget
from headwatch.estimates.target import Target, check_budget, check_least
from headwatch.statistics.difference_estimator import MeanEstimate


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def budget(share, clock=None, sweep_seconds=np.inf):
    return Budget(share, np.array([0.01, 0.02, 0.03]), 0.005, sweep_seconds, clock=clock or Clock())


ALL = np.array([1.0, 3.0, 2.0])


def test_without_a_limit_all_that_is_needed_is_paid_for_and_counted():
    found = budget(None)
    np.testing.assert_array_equal(found.afford(ALL, 2), [True, True, True])
    assert found.spent == pytest.approx(2 * 0.06 + 2 * 0.005)
    np.testing.assert_array_equal(found.afford(np.array([0.0, 1.0, 0.0]), 1), [False, True, False])
    assert found.spent == pytest.approx(0.13 + 0.02 + 0.005)


@pytest.mark.parametrize(
    ("left", "chosen"),
    [
        (0.0649, [False, True, True]),
        (0.0651, [True, True, True]),
        (0.0549, [False, True, False]),
        (0.0249, [False, False, False]),
        (0.0251, [False, True, False]),
    ],
)
def test_the_neediest_come_first_as_far_as_it_goes(left, chosen):
    """Cells of 0.02, 0.03 and 0.01 in the order of their need, and 0.005 for the run that they share."""
    found = budget(0.5)
    found.spent = 0.5 - left
    np.testing.assert_array_equal(found.afford(ALL, 1), chosen)
    costs = np.array([0.01, 0.02, 0.03])[chosen]
    assert found.spent == pytest.approx(0.5 - left + costs.sum() + 0.005 * any(chosen))
    assert found.spent <= 0.5


def test_several_pairs_cost_as_many_times_more():
    found = budget(0.5)
    found.spent = 0.5 - 3 * 0.025 - 1e-6
    np.testing.assert_array_equal(found.afford(ALL, 3), [False, True, False])
    np.testing.assert_array_equal(found.afford(ALL, 3), [False, False, False])


def test_what_is_not_needed_is_not_bought():
    found = budget(0.5)
    np.testing.assert_array_equal(found.afford(np.zeros(3), 1), [False] * 3)
    assert found.spent == 0


def test_the_clock_ends_it_too():
    clock = Clock()
    clock.now = 100.0
    found = budget(0.5, clock, sweep_seconds=10.0)
    clock.now = 104.9
    assert (found.seconds, found.by_clock) == (pytest.approx(4.9), pytest.approx(0.49))
    assert found.afford(ALL, 1).all()
    clock.now = 105.0
    spent = found.spent
    np.testing.assert_array_equal(found.afford(ALL, 1), [False] * 3)
    assert found.spent == spent
    endless = budget(None, clock, sweep_seconds=1e-9)
    clock.now = 1e9
    assert endless.afford(ALL, 1).all()


def estimate(mean, sampling, prompts):
    one = np.ones(len(mean))
    return MeanEstimate(
        np.array(mean), np.array(sampling), np.array(prompts), 3 * one, one, np.full(len(mean), 4)
    )


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        (None, Target(share=0.01)),
        ("2%", Target(share=0.02)),
        (" 2.5 % ", Target(share=0.025)),
        ("exact", Target()),
        (0.3, Target(absolute=0.3)),
        (1.0, Target(absolute=1.0)),
    ],
)
def test_what_was_asked_for(asked, target):
    assert Target.of(asked) == target


@pytest.mark.parametrize("asked", ["2", "%", "-1%", "0%", "0.0%", "all", 0.0, -0.1, float("nan")])
def test_what_cannot_be_a_target(asked):
    with pytest.raises(ValueError, match="target_stderr="):
        Target.of(asked)


def test_what_is_allowed():
    """0.21 of the exact variance, or what a whole variance of 0.3² leaves beside it."""
    found = estimate([1.0, -5.0, 2.0], [0.1, 0.1, 0.1], [0.02, 0.08, 1.0])
    np.testing.assert_allclose(Target().allowed(found), [0.0042, 0.0168, 0.21])
    np.testing.assert_allclose(Target(absolute=0.3).allowed(found), [0.07, 0.0168, 0.21])
    np.testing.assert_allclose(Target(share=0.06).allowed(found), [0.07, 0.0168, 0.21])
    np.testing.assert_array_equal(Target(absolute=0.3).met(found), [False, False, True])
    np.testing.assert_allclose(Target(absolute=0.3).need(found), [0.1 / 0.07, 0.1 / 0.0168, 0.1 / 0.21])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_effect_that_is_no_number_is_not_the_largest(wrong):
    found = estimate([1.0, wrong], [0.0001, 0.2], [0.0, 0.0])
    np.testing.assert_allclose(Target(share=0.1).allowed(found), [0.01, 0.01])
    assert (Target(share=0.1).allowed(estimate([wrong], [0.1], [0.0])) == 0).all()


def test_nothing_is_needed_where_nothing_is_open():
    found = estimate([0.0, 0.0, 1.0], [0.0, 1.0, np.nan], [0.0, 0.0, np.nan])
    assert Target().met(found)[0]
    need = Target().need(found)
    assert need[0] == need[2] == 0
    assert 1e300 < need[1] < np.inf


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.01, float("nan"), float("inf")])
def test_what_cannot_be_a_budget(wrong):
    with pytest.raises(ValueError, match="give a share of the exact sweep's cost, above 0 and up to 1"):
        check_budget(wrong)


def test_the_least_budget_that_is_named_is_enough():
    for least in (1 / 7, 0.3209, 0.32, 1.0000000002, 4 / 64):
        with pytest.raises(ValueError, match=r"budget=0\.01 is less than") as refused:
            check_least(0.01, least, 4, 24)
        named = float(str(refused.value).split("less than ")[1].split(",")[0])
        check_least(named, least, 4, 24)
        assert least - 1e-9 <= named <= min(1.0, least + 0.001)
    check_least(None, 0.5, 4, 24)
    check_least(0.5, 0.5, 4, 24)
    with pytest.raises(ValueError, match="the share of 3 exact runs a head on 30 pairs"):
        check_least(0.49, 0.5, 3, 30)
