"""Draws from tables whose truth is known: errors and coverage are those of theory, and a false promise is found out."""

from dataclasses import dataclass

import pytest
import torch

import headwatch as hw
from benchmarks.estimates.coverage import draw, exact_sweep
from benchmarks.estimates.tables import Table
from tests.models import random_pairs


def table(exact):
    nothing = torch.zeros_like(exact)
    clean, pairs = torch.zeros(len(exact)), random_pairs(len(exact))
    return Table("mean", "logit_diff", pairs, exact, nothing, nothing[..., None], nothing, clean, clean)


NORMAL = table(torch.randn(512, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1)


def test_the_exact_sweep_of_normal_effects_is_off_by_its_standard_error_and_covers_95_per_cent():
    draws = draw(NORMAL, exact_sweep, repeats=400, n_pairs=16)
    assert draws.mean.shape == (400, 2, 3)
    assert torch.equal(draws.truth, NORMAL.exact.double().mean(0))
    assert (draws.relative_error - 1).abs().max() < 0.14  # 4 standard errors of a root mean square of 400
    assert abs(draws.coverage.mean() - 0.95) < 0.02
    largest = draws.exact_stderr.max() / draws.truth.abs().max()
    assert draws.error_of_largest == pytest.approx(float(largest), rel=0.2)
    assert (draws.cost == 1).all()
    assert (draws.n_exact == 16).all()


def test_pairs_of_one_in_a_hundred_that_hold_the_whole_effect_are_missed_by_the_share_of_draws_without_one():
    effects = torch.zeros(500, 1, 1)
    effects[::100] = 1.0
    draws = draw(table(effects), exact_sweep, repeats=400, n_pairs=64)
    missed = 0.99**64
    assert draws.coverage.item() == pytest.approx(1 - missed, abs=4 * (missed * (1 - missed) / 400) ** 0.5)


def half_of_the_pairs(some, seed):
    return exact_sweep(some[torch.arange(len(some.exact) // 2)], seed)


def test_an_estimate_from_half_of_the_pairs_is_off_by_the_root_of_two():
    draws = draw(NORMAL, half_of_the_pairs, repeats=400, n_pairs=32)
    assert (draws.relative_error - 2**0.5).abs().max() < 0.2


@dataclass
class Bold:
    """An estimate that promises ten times too much of head 0, and marks it as suspect in some draws."""

    effects: hw.Effects
    marks: bool
    cost: float = 0.5

    @property
    def mean(self):
        return self.effects.mean

    @property
    def n_exact(self):
        return torch.full((2, 3), 4)

    @property
    def suspect(self):
        marked = torch.zeros(2, 3, dtype=torch.bool)
        marked[0, 0] = self.marks
        return marked

    def interval(self, level):
        low, high = self.effects.interval(level)
        middle = (low + high) / 2
        factor = torch.ones(2, 3)
        factor[0, 0] = 0.1
        return middle - (middle - low) * factor, middle + (high - middle) * factor


@pytest.mark.parametrize(("share", "held_to_it"), [(0, True), (3, True), (4, False)])
def test_a_head_that_is_often_marked_is_not_held_to_its_coverage(share, held_to_it):
    draws = draw(NORMAL, lambda some, seed: Bold(exact_sweep(some, seed), seed % 10 < share), repeats=100)
    assert draws.coverage[0, 0] < 0.3
    assert (draws.worst_trusted_coverage < 0.3) == held_to_it
    assert draws.worst_trusted_coverage > 0.9 or held_to_it
    assert draws.cost.mean() == 0.5
