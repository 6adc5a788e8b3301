"""The difference estimator against plain formulas, and its intervals against known truths."""

import numpy as np
import pytest

from headwatch.statistics.difference_estimator import difference_estimate
from headwatch.statistics.intervals import t_factor

DRAWS, N = 2000, 64  # cells stand for draws: each has pairs of its own


def estimate(exact, covariate=None, tail=None, task_of=None):
    nothing = np.zeros_like(exact)
    return difference_estimate(
        exact,
        nothing if covariate is None else covariate,
        nothing if tail is None else tail,
        np.zeros(len(exact), int) if task_of is None else task_of,
    )


def only_first(exact, n):
    some = exact.copy()
    some[n:] = np.nan
    return some


def coverage(found, truth=0.0):
    half = t_factor(found.degrees_of_freedom) * found.stderr
    return float((np.abs(found.mean - truth) <= half).mean())


def test_where_every_pair_was_run_it_is_the_plain_mean_whatever_the_covariate():
    draw = np.random.default_rng(0)
    exact, covariate, tail = draw.normal(size=(3, 12, 5))
    found = estimate(exact, covariate, tail**2, np.arange(12) % 3)
    np.testing.assert_allclose(found.mean, exact.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.stderr, exact.std(0, ddof=1) / 12**0.5, atol=1e-12)
    np.testing.assert_allclose(found.degrees_of_freedom, 11)
    np.testing.assert_array_equal(found.of_sampling, 0)
    np.testing.assert_array_equal(found.n, 12)


def test_a_covariate_that_is_off_by_a_constant_leaves_nothing_open():
    draw = np.random.default_rng(1)
    covariate = draw.normal(size=(N, 3))
    found = estimate(only_first(covariate + 5, 4), covariate)
    np.testing.assert_allclose(found.mean, covariate.mean(0) + 5)
    np.testing.assert_allclose(found.of_sampling, 0, atol=1e-25)
    np.testing.assert_allclose(found.stderr, covariate.std(0, ddof=1) / N**0.5)


@pytest.mark.parametrize("n", [4, 6, 12, 40])
@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_intervals_hold_the_true_mean_as_often_as_they_say(n, slope):
    draw = np.random.default_rng(n)
    covariate = draw.normal(size=(N, DRAWS))
    exact = slope * covariate + 0.7 * draw.normal(size=(N, DRAWS))
    assert 0.93 <= coverage(estimate(only_first(exact, n), covariate)) <= 0.985


def test_the_standard_error_is_the_spread_of_the_estimates():
    draw = np.random.default_rng(3)
    covariate = draw.normal(size=(N, DRAWS))
    found = estimate(only_first(1.4 * covariate + 0.5 * draw.normal(size=(N, DRAWS)), 24), covariate)
    assert found.mean.std() == pytest.approx(np.sqrt((found.stderr**2).mean()), rel=0.05)


def test_residuals_that_differ_between_tasks_are_weighted_and_compared_within_them():
    draw, task_of = np.random.default_rng(4), np.arange(N) % 4
    exact = 10.0 * (task_of == 0)[:, None] + draw.normal(size=(N, DRAWS))
    found, plain = (estimate(only_first(exact, 12), task_of=tasks) for tasks in (task_of, None))
    assert (found.of_sampling < plain.of_sampling / 5).mean() > 0.95
    assert found.mean.std() == pytest.approx(np.sqrt(found.of_sampling.mean()), rel=0.1)
    uneven = only_first(np.concatenate([exact[task_of == 0], exact[task_of != 0]]), 20)
    tasks = np.repeat([0, 1], [16, 48])
    assert estimate(uneven, task_of=tasks).mean.mean() == pytest.approx(2.5, abs=0.05)


def test_tasks_count_for_nothing_until_each_has_two_runs():
    draw = np.random.default_rng(5)
    exact, task_of = only_first(draw.normal(size=(N, 7)), 5), np.arange(N) % 3
    found, plain = (estimate(exact, task_of=tasks) for tasks in (task_of, None))
    np.testing.assert_allclose(found.of_sampling, plain.of_sampling, rtol=1e-12)
    np.testing.assert_allclose(found.mean, plain.mean, rtol=1e-12)


def test_tasks_of_different_spread_are_not_taken_for_alike():
    draw, task_of = np.random.default_rng(6), np.arange(N) % 2
    exact = np.where(task_of == 0, 5.0, 0.1)[:, None] * draw.normal(size=(N, DRAWS))
    found = estimate(only_first(exact, 8), task_of=task_of)
    own = [(1 / 2) ** 2 * exact[:8][task_of[:8] == t].var(0, ddof=1) / 4 * (1 - 4 / 32) for t in (0, 1)]
    assert (found.of_sampling >= sum(own) - 1e-12).all()
    assert coverage(found) >= 0.93


def test_a_tail_that_the_runs_have_missed_raises_the_variance_by_as_much():
    draw = np.random.default_rng(7)
    exact, tail = draw.normal(size=(N, 3)), np.ones((N, 3))
    tail[10:, 1] = 9.0
    plain, raised = estimate(only_first(exact, 10)), estimate(only_first(exact, 10), tail=tail)
    factor = (10 + 54 * 9) / 64
    np.testing.assert_allclose(raised.tail_missed, [1, factor, 1])
    np.testing.assert_allclose(raised.of_sampling, plain.of_sampling * [1, factor, 1])


def test_a_tail_that_the_runs_have_seen_too_much_of_lowers_nothing():
    exact, tail = np.random.default_rng(8).normal(size=(N, 1)), np.ones((N, 1))
    tail[:10] = 9.0
    assert estimate(only_first(exact, 10), tail=tail).tail_missed == 1


def test_of_the_variance_within_tasks_the_larger_of_the_pooled_one_and_the_sum_of_their_own_counts():
    draw, task_of = np.random.default_rng(9), np.repeat([0, 1], [16, 48])
    exact = np.where(task_of == 0, 5.0, 1.0)[:, None] * draw.normal(size=(N, 50))
    run = np.isin(np.arange(N), [0, 1, *range(16, 26)])
    some = np.where(run[:, None], exact, np.nan)
    left = {0: (16 / N) ** 2 / 2 * (1 - 2 / 16), 1: (48 / N) ** 2 / 10 * (1 - 10 / 48)}
    spread = {task: exact[run & (task_of == task)].var(0, ddof=1) for task in (0, 1)}
    own = sum(left[task] * spread[task] for task in (0, 1))
    pooled = sum(left.values()) * (spread[0] * 1 + spread[1] * 9) / 10
    assert (own > pooled).any()
    assert (own < pooled).any()
    np.testing.assert_allclose(estimate(some, task_of=task_of).of_sampling, np.maximum(own, pooled))
