"""Which covariate is taken: the one with which a table's whole question costs least, worked out by hand."""

import numpy as np
import pytest

from headwatch.estimates import choose as module
from headwatch.estimates.choose import choose, expected_runs
from headwatch.estimates.covariates import Covariate, Guess
from headwatch.estimates.head_sweep import HeadSweep
from headwatch.estimates.target import Target

N, CELLS = 64, 5
PILOT = np.array([9, 3, 60, 31])
EXACT = np.random.default_rng(0).normal(size=(N, CELLS))
PER_CELL = np.full(CELLS, 0.5)


class Question(HeadSweep):
    """As much of a question as choosing takes."""

    n_pairs = N

    def __init__(self):
        pass


class Tabled(Covariate):
    """A covariate whose values are in a table; which pairs were asked for is kept."""

    values = np.zeros((N, CELLS))
    price = 0.0
    here = True
    asked = None

    def serves(self):
        return self.here

    def cost(self):
        return self.price

    def guess(self, rows):
        self.asked.append(rows)
        return Guess(self.values[rows], self.values[rows] ** 2)


def covariate(values, price, here=True):
    return type("Own", (Tabled,), {"values": values, "price": price, "here": here, "asked": []})


NONE = covariate(0 * EXACT, 0.0)
PERFECT = covariate(EXACT, 0.4)
ROUGH = covariate(EXACT + 0.3 * np.random.default_rng(1).normal(size=EXACT.shape), 0.1)


def chosen(monkeypatch, kinds, limit=np.inf, target=None):
    for kind in kinds:
        kind.asked.clear()
    monkeypatch.setattr(module, "COVARIATES", kinds)
    return choose(Question(), EXACT[PILOT], PILOT, target or Target(), PER_CELL, limit)


def whole_cost(kind):
    """Its price on all pairs, and runs at `1 / (0.21 s² / (64 r²) + 1 / 64)`, at least the first 4."""
    residual = (EXACT - kind.values)[PILOT].var(0, ddof=1)
    prompts = EXACT[PILOT].var(0, ddof=1) / N
    with np.errstate(divide="ignore"):
        runs = np.maximum(4, 1 / (0.21 * prompts / residual + 1 / N))
    return kind.price * N + (runs * PER_CELL).sum()


@pytest.mark.parametrize("price", [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 3.0])
def test_the_cheapest_whole_wins(monkeypatch, price):
    other = covariate(EXACT, price)
    best = min((NONE, other, ROUGH), key=whole_cost)
    assert type(chosen(monkeypatch, (NONE, other, ROUGH)).covariate) is best


def test_what_cannot_be_paid_for_is_not_tried(monkeypatch):
    assert type(chosen(monkeypatch, (NONE, PERFECT)).covariate) is PERFECT
    assert type(chosen(monkeypatch, (NONE, PERFECT), limit=0.4 * N).covariate) is PERFECT
    assert type(chosen(monkeypatch, (NONE, PERFECT), limit=0.4 * N - 0.01).covariate) is NONE
    assert not PERFECT.asked
    assert type(chosen(monkeypatch, (NONE, PERFECT), limit=0.0).covariate) is NONE


def test_what_does_not_serve_is_not_tried(monkeypatch):
    absent = covariate(EXACT, 0.0, here=False)
    assert type(chosen(monkeypatch, (NONE, absent)).covariate) is NONE
    assert not absent.asked


def test_what_could_not_win_with_the_fewest_runs_is_not_tried(monkeypatch):
    at_best = whole_cost(covariate(EXACT, 0.0))
    dear = covariate(EXACT, (whole_cost(NONE) - at_best + 0.01) / N)
    assert type(chosen(monkeypatch, (NONE, dear)).covariate) is NONE
    assert not dear.asked
    just = covariate(EXACT, (whole_cost(NONE) - at_best - 0.01) / N)
    assert type(chosen(monkeypatch, (NONE, just)).covariate) is just


def test_everywhere_asks_for_the_other_pairs_once_and_puts_all_in_order(monkeypatch):
    found = chosen(monkeypatch, (NONE, PERFECT))
    guess = found.everywhere(PILOT, N)
    np.testing.assert_array_equal(guess.values, EXACT)
    np.testing.assert_array_equal(guess.tail, EXACT**2)
    np.testing.assert_array_equal(np.sort(np.concatenate(PERFECT.asked)), np.arange(N))


def test_where_the_first_pairs_are_all_nothing_more_is_asked_for(monkeypatch):
    found = chosen(monkeypatch, (NONE,))
    few = module.Chosen(found.covariate, Guess(EXACT[:4], EXACT[:4] ** 2))
    np.testing.assert_array_equal(few.everywhere(np.array([2, 0, 3, 1]), 4).values[[2, 0, 3, 1]], EXACT[:4])


def test_runs_that_are_expected():
    nothing = Guess(0 * EXACT[PILOT], 0 * EXACT[PILOT])
    as_exact = expected_runs(EXACT[PILOT], nothing, N, Target())
    np.testing.assert_allclose(as_exact, N / 1.21)
    spread, mean = EXACT[PILOT].var(0, ddof=1), 0.4
    wanted = expected_runs(EXACT[PILOT], nothing, N, Target(absolute=mean))
    allowed = np.maximum(0.21 * spread / N, mean**2 - spread / N)
    np.testing.assert_allclose(wanted, np.maximum(4, 1 / (allowed / spread + 1 / N)))
    worse = Guess(-3 * EXACT[PILOT], 0 * EXACT[PILOT])
    np.testing.assert_allclose(expected_runs(EXACT[PILOT], worse, N, Target()), as_exact)
    same = expected_runs(np.ones((4, 2)), Guess(np.zeros((4, 2)), np.zeros((4, 2))), N, Target())
    np.testing.assert_array_equal(same, [4, 4])
