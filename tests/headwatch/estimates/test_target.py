"""When a head has had enough exact runs."""

import numpy as np
import pytest

from headwatch.estimates.target import Target
from headwatch.statistics.difference_estimator import MeanEstimate


def estimate(of_sampling, n, tail_missed=1.0, of_prompts=1.0, mean=0.0):
    """Estimates of heads, one for each variance of sampling."""
    sampling = np.array(of_sampling, float)
    full = [np.full(len(sampling), value, float) for value in (mean, of_prompts, 50.0, tail_missed)]
    prompts = [full[1], full[2], full[3]]
    return MeanEstimate(full[0], sampling, *prompts, np.full(len(sampling), n))


@pytest.mark.parametrize(("n", "times"), [(4, 1.1), (9, 1.1), (10, 1.22), (40, 1.22)])
def test_as_exact_is_a_tenth_more_than_the_exact_standard_error_and_a_fifth_for_hard_heads(n, times):
    just, too_much = ((times * factor) ** 2 - 1 for factor in (0.997, 1.01))
    assert Target.of("exact").met(estimate([just, too_much], n)).tolist() == [True, False]


@pytest.mark.parametrize(("target", "mean"), [(2.0, 0.0), ("2%", 100.0), (None, 200.0)])
def test_a_standard_error_that_was_asked_for_is_enough(target, mean):
    just, too_much = 1.99**2 - 1, 2.01**2 - 1
    assert Target.of(target).met(estimate([just, too_much], 4, mean=mean)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("tail_missed", "n", "enough"), [(2.9, 4, True), (3.1, 4, False), (3.1, 31, False), (3.1, 32, True)]
)
def test_a_head_whose_runs_missed_its_tail_has_not_had_enough_before_32_runs(tail_missed, n, enough):
    found = estimate([0.0], n, tail_missed)
    assert Target.of("exact").met(found).tolist() == [enough]
    assert (Target.of("exact").need(found) >= 1).tolist() == [not enough]


def test_the_head_that_is_furthest_from_enough_needs_most():
    need = Target.of("exact").need(estimate([0.1, 4.2, 0.42], 4))
    np.testing.assert_allclose(need, [0.1 / 0.21, 20, 2])
