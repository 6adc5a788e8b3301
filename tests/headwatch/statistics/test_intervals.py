"""Student's t against closed forms, printed tables, and integration of its density."""

import math

import numpy as np
import pytest

from headwatch.statistics.intervals import half_width, interval, p_values, t_cdf, t_factor, t_quantile

# Two-sided 95 % and 99 % points, as printed in Fisher & Yates (1938) and every table since.
TABLE_95 = {1: 12.706, 2: 4.303, 3: 3.182, 7: 2.365, 10: 2.228, 30: 2.042, 60: 2.000, 120: 1.980}
TABLE_99 = {1: 63.657, 2: 9.925, 3: 5.841, 7: 3.499, 10: 3.169, 30: 2.750, 60: 2.660, 120: 2.617}


def integrated_tail(t: float, freedom: float) -> float:
    """P(T > t): the density in the angle of t = sqrt(freedom) · tan(angle), by Gauss and Legendre's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    start = math.atan(t / math.sqrt(freedom))
    half = (math.pi / 2 - start) / 2
    angles = start + half * (nodes + 1)
    log_constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(math.pi)
    return math.exp(log_constant) * half * float(weights @ np.cos(angles) ** (freedom - 1))


@pytest.mark.parametrize(("level", "table"), [(0.95, TABLE_95), (0.99, TABLE_99)])
def test_the_factor_is_that_of_the_printed_tables(level, table):
    np.testing.assert_allclose(t_factor(np.array([*table]), level), [*table.values()], atol=6e-4)


def test_few_pairs_have_wider_intervals_than_a_normal_distribution_gives():
    factors = t_factor(np.array([2, 7, 63, math.inf]))
    assert (np.diff(factors) < 0).all()
    assert factors[-1] == pytest.approx(1.959963984540054, rel=1e-12)
    assert factors[0] > 2 * factors[-1]


@pytest.mark.parametrize("t", [-3.5, -0.2, 0.0, 1e-8, 0.7, 4.0, 50.0])
def test_the_closed_forms_at_one_two_and_four_degrees_of_freedom(t):
    # Four: (1/2) + (3/8) t / sqrt(1 + t²/4) · (1 − t² / (12 (1 + t²/4))).
    four = 0.5 + 3 / 8 * t / math.sqrt(1 + t * t / 4) * (1 - t * t / (12 * (1 + t * t / 4)))
    expected = [0.5 + math.atan(t) / math.pi, 0.5 + t / (2 * math.sqrt(2 + t * t)), four]
    np.testing.assert_allclose(t_cdf(t, np.array([1, 2, 4])), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("freedom", [1.0, 2.3, 3.7, 5.0, 11.5, 63.0, 400.0, 2500.5])
def test_the_tail_is_the_integral_of_the_density(freedom):
    for t in (0.05, 0.8, 1.7, 2.6, 6.0):
        expected = integrated_tail(t, freedom)
        assert t_cdf(-t, freedom) == pytest.approx(expected, rel=1e-9)
        assert t_quantile(1 - expected, freedom) == pytest.approx(t, rel=1e-6)


def test_a_tiny_tail_keeps_its_digits():
    # At two degrees of freedom the tail is (1 − t / sqrt(2 + t²)) / 2 = 1 / (2 t²) for large t.
    assert t_cdf(-1e8, 2) == pytest.approx(0.5e-16, rel=1e-9)


def test_quantile_and_probability_are_inverse_over_all_degrees_of_freedom():
    probability = np.array([1e-12, 1e-3, 0.2, 0.4999, 0.5, 0.8, 0.999])[:, None]
    freedom = np.array([0.4, 1, 1.9, 6, 31.25, 1e3, 9.9e4, 1.1e5, 1e9, math.inf])
    quantile = t_quantile(probability, freedom)
    assert quantile.shape == (7, 10)
    np.testing.assert_allclose(
        t_cdf(quantile, freedom), np.broadcast_to(probability, quantile.shape), rtol=1e-8
    )
    assert (np.diff(quantile, axis=0) > 0).all()


def test_the_two_ways_of_computing_a_tail_meet():
    t = np.linspace(0.1, 6, 30)
    np.testing.assert_allclose(t_cdf(-t, 99_999.0), t_cdf(-t, 100_001.0), rtol=1e-4)
    below, above = t_cdf(-t, 99_999.999), t_cdf(-t, 100_000.001)
    np.testing.assert_allclose(below, above, rtol=1e-6)


def test_an_interval_has_degrees_of_freedom_of_its_own_for_each_value():
    mean, stderr = np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[0.5, 0.1], [1.0, 2.0]])
    freedom = np.array([[2.0, 3.0], [10.0, 1.0]])
    low, high = interval(mean, stderr, freedom)
    factors = np.array([[4.303, 3.182], [2.228, 12.706]])
    np.testing.assert_allclose(low, mean - factors * stderr, atol=1e-3)
    np.testing.assert_allclose(high, mean + factors * stderr, atol=1e-3)
    np.testing.assert_allclose(half_width(stderr, freedom), (high - low) / 2)


def test_a_p_value_is_below_5_percent_just_where_the_interval_leaves_out_0():
    stderr = np.array([0.3, 1.0, 2.0, 0.01])
    freedom = np.array([2.0, 4.5, 63.0, 1000.0])
    half = half_width(stderr, freedom)
    np.testing.assert_allclose(p_values(half, stderr, freedom), 0.05, rtol=1e-9)
    assert (p_values(-half * 1.001, stderr, freedom) < 0.05).all()


def test_values_that_never_vary():
    found = p_values(np.array([0.0, 2.0, 1.0]), np.array([0.0, 0.0, np.nan]), 5)
    assert found[:2].tolist() == [1.0, 0.0]
    assert np.isnan(found[2])


def test_a_single_pair_has_no_interval_and_no_p_value():
    low, high = interval(np.array([1.0]), np.array([np.nan]), 0)
    assert np.isnan([low[0], high[0], t_factor(0), p_values(np.array([1.0]), np.array([np.nan]), 0)[0]]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.5])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=r"level=.*: give a share between 0 and 1, such as 0\.95"):
        t_factor(3, level)


def test_refusals():
    with pytest.raises(ValueError, match=r"probability=1\.0: give one between 0 and 1"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match="degrees_of_freedom=-1: they can't be negative"):
        t_cdf(0.0, -1)
