"""In how many values a spread lies, in cases that are known."""

import numpy as np
import pytest

from headwatch.statistics.spread import share_of_spread


def test_the_spread_of_normal_values_lies_in_a_third_of_them_and_of_two_heights_in_all():
    normal = np.random.default_rng(0).standard_normal((200_000, 1))
    assert share_of_spread(normal)[0] == pytest.approx(1 / 3, rel=0.02)
    assert share_of_spread(np.tile([[1.0], [5.0]], (10, 1)))[0] == pytest.approx(1)


@pytest.mark.parametrize("carrying", [1, 3, 7])
def test_where_a_few_pairs_differ_it_lies_in_these(carrying):
    values = np.zeros((1000, 1))
    values[:carrying] = 5.0
    assert 1000 * share_of_spread(values)[0] == pytest.approx(carrying, rel=0.02)


def test_values_that_are_missing_do_not_count_and_scale_and_height_do_not_matter():
    values = np.random.default_rng(1).standard_normal((40, 3))
    missing = np.vstack([values, np.full((24, 3), np.nan)])
    np.testing.assert_allclose(share_of_spread(missing), share_of_spread(values))
    np.testing.assert_allclose(share_of_spread(1e-30 * values + 0), share_of_spread(values))
    np.testing.assert_allclose(share_of_spread(100 * values + 7), share_of_spread(values))


def test_values_that_are_all_alike_have_no_spread_to_lie_anywhere():
    assert share_of_spread(np.full((9, 1), 3.0))[0] == 1
