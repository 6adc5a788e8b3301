"""Which exact runs are made, on tables whose exact effects are known; and how often intervals hold the truth."""

from itertools import pairwise

import numpy as np
import pytest

from headwatch.estimates.allocate import PILOT, Known, allocate
from headwatch.estimates.target import Target
from headwatch.statistics.balanced_order import balanced_order
from headwatch.statistics.difference_estimator import difference_estimate
from headwatch.statistics.intervals import t_factor

N = 64


def everything(need, n_pairs):
    return need > 0


class Table:
    """Exact effects `[pair, cell]` that are looked up rather than run, and what was asked of them."""

    def __init__(self, exact, covariate=None, tail=None, task_of=None, seed=0):
        self.exact, self.asked = exact, []
        tasks = np.zeros(len(exact), int) if task_of is None else task_of
        order = balanced_order(len(exact), tasks, seed=seed).numpy()
        nothing = np.zeros_like(exact)
        self.known = Known(
            nothing if covariate is None else covariate, nothing if tail is None else tail, tasks, order
        )

    def run(self, rows, cells):
        self.asked.append((rows, cells))
        return self.exact[rows]

    def allocate(self, target, affordable=everything, first=PILOT):
        run = np.full_like(self.exact, np.nan)
        run[self.known.order[:first]] = self.exact[self.known.order[:first]]
        return run, allocate(run, first, self.run, self.known, target, affordable)


def normal(cells, seed=0, n=N):
    return np.random.default_rng(seed).normal(size=(n, cells))


def test_pairs_are_run_in_order_a_fifth_more_each_time_and_never_twice():
    table = Table(normal(3))
    run, _ = table.allocate(Target())
    sizes = [len(rows) for rows, _ in table.asked]
    assert sizes[:8] == [1, 1, 1, 1, 2, 2, 2, 3]
    rows = np.concatenate([rows for rows, _ in table.asked])
    np.testing.assert_array_equal(rows, table.known.order[PILOT : PILOT + len(rows)])
    for cell in range(3):
        n = (~np.isnan(run[:, cell])).sum()
        np.testing.assert_array_equal(np.flatnonzero(~np.isnan(run[:, cell])), np.sort(table.known.order[:n]))
    np.testing.assert_array_equal(run[~np.isnan(run)], table.exact[~np.isnan(run)])


def test_the_last_few_pairs_are_run_together():
    table = Table(normal(2, n=9))
    _, fitted = table.allocate(Target(absolute=1e-9))
    assert [len(rows) for rows, _ in table.asked][-1] >= 2
    assert (fitted.mean.n == 9).all() or (fitted.mean.of_sampling <= 0.21 * fitted.mean.of_prompts).all()


@pytest.mark.parametrize(
    ("target", "enough"),
    [(Target(), 0.0), (Target(absolute=0.3), 0.3), (Target(share=0.2), 0.2 * 5)],
)
def test_cells_run_on_until_they_have_enough_and_not_further(target, enough):
    """A variance of sampling of 0.21 (from 10 runs on 0.5) of the exact one's, or with it below what was asked for."""
    exact = normal(40) * np.linspace(0.1, 4, 40)
    exact[:, 0] += 5 - exact[:, 0].mean()
    table = Table(exact)
    run, fitted = table.allocate(target)
    n = (~np.isnan(run)).sum(0)

    def has_enough(values):
        found = difference_estimate(values, np.zeros_like(exact), np.zeros_like(exact), table.known.task_of)
        as_exact = found.of_sampling <= np.where(found.n < 10, 0.21, 0.5) * found.of_prompts
        largest = np.abs(found.mean).max() if target.share else 1
        wanted = target.share * largest if target.share else enough
        return as_exact | (found.stderr <= wanted)

    assert has_enough(run).all()
    assert not np.isnan(fitted.mean.mean).any()
    assert (n >= PILOT).all()
    sizes = np.cumsum([PILOT, *(len(rows) for rows, _ in table.asked)])
    for last, size in pairwise(sizes):
        before = run.copy()
        before[table.known.order[last:]] = np.nan
        here = n == size
        if target.share == 0:
            assert not has_enough(before)[here].any()


def test_covariates_that_know_everything_take_no_more_runs():
    exact = normal(5)
    table = Table(exact, covariate=exact + 2.0)
    _, fitted = table.allocate(Target())
    assert (fitted.mean.n == PILOT).all()
    np.testing.assert_allclose(fitted.mean.mean, exact.mean(0))
    np.testing.assert_array_equal(fitted.covariate, exact + 2.0)
    assert not table.asked


def test_a_covariate_that_makes_a_head_worse_is_left_out_with_its_tail():
    exact = normal(2)
    covariate = np.stack([exact[:, 0], -exact[:, 1]], axis=1)
    fitted = Table(exact, covariate, tail=np.ones_like(exact)).known.estimate(exact, np.full(2, N))
    np.testing.assert_array_equal(fitted.covariate, np.stack([exact[:, 0], 0 * exact[:, 1]], axis=1))
    np.testing.assert_array_equal(fitted.tail, [[1.0, 0.0]] * N)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_covariate_that_is_no_number_somewhere_is_left_out(wrong):
    exact = normal(2)
    covariate = exact.copy()
    covariate[50, 1] = wrong
    fitted = Table(exact, covariate).known.estimate(exact, np.full(2, N))
    np.testing.assert_array_equal(fitted.covariate, np.stack([exact[:, 0], 0 * exact[:, 1]], axis=1))


def test_a_run_that_is_no_number_makes_its_head_none_and_holds_up_nobody():
    exact = normal(3)
    table = Table(exact)
    exact[table.known.order[1], 0] = np.nan
    exact[table.known.order[20], 1] = np.nan
    _, fitted = table.allocate(Target())
    np.testing.assert_array_equal(np.isnan(fitted.mean.mean), [True, True, False])
    np.testing.assert_array_equal(np.isnan(fitted.mean.stderr), [True, True, False])
    assert fitted.mean.n[2] > 30
    # What is no number after the first runs isn't run again.
    assert not any(cells[0] for _, cells in table.asked)


def test_what_cannot_be_paid_for_stays_as_it_is():
    table, asked = Table(normal(4)), []

    def only_some(need, n_pairs):
        asked.append((need, n_pairs))
        return (need > 0) & (np.arange(4) < 2) & (len(asked) < 3)

    run, fitted = table.allocate(Target(), only_some)
    np.testing.assert_array_equal((~np.isnan(run)).sum(0), [6, 6, 4, 4])
    np.testing.assert_array_equal(fitted.mean.n, [6, 6, 4, 4])
    assert [n_pairs for _, n_pairs in asked] == [1, 1, 1]
    # Cells that fell behind aren't asked for again.
    assert (asked[1][0][2:] == 0).all()


def test_what_needs_most_comes_first():
    exact = normal(3) * [0.5, 2.0, 1.0]
    needs = []
    Table(exact).allocate(Target(absolute=0.1), lambda need, n_pairs: needs.append(need) or need < 0)
    spread = exact[Table(exact).known.order[:PILOT]].var(0, ddof=1) / PILOT
    assert needs[0].argsort().tolist() == spread.argsort().tolist()


DRAWS = 1000


def coverage(exact, truth, covariate=None, tail=None, task_of=None, target=None):
    """How often 95 % intervals hold the truth; every cell is a draw of its own. Also the share of runs made."""
    table = Table(exact, covariate, tail, task_of)
    run, fitted = table.allocate(Target() if target is None else target)
    half = t_factor(fitted.mean.degrees_of_freedom) * fitted.mean.stderr
    hits = np.abs(fitted.mean.mean - truth) <= half
    return hits.mean(), (~np.isnan(run)).mean(), fitted.mean


def test_coverage_of_normal_effects():
    held, _, _ = coverage(normal(DRAWS) + 0.3, 0.3)
    assert 0.93 <= held <= 0.98


def test_coverage_where_a_number_was_asked_for():
    held, share, found = coverage(normal(DRAWS) + 0.3, 0.3, target=Target(absolute=0.3))
    assert 0.90 <= held <= 0.98  # runs end where they happen to agree: see the page 'estimates'
    assert share < 0.4
    assert (found.stderr <= 0.3).all()


def test_coverage_over_tasks_of_different_heights():
    """The exact mean's variance is 5 / 64, and 1 / n − 1 / 64 of the tasks' own 1 may be half of that: n is 18."""
    task_of = np.arange(N) % 2
    held, share, _ = coverage(normal(DRAWS) + np.where(task_of, 4.0, 0.0)[:, None], 2.0, task_of=task_of)
    assert held >= 0.93
    assert share == pytest.approx(1 / (1 + 0.5 * 5), abs=0.05)


def test_coverage_with_a_covariate():
    covariate = normal(DRAWS, seed=1)
    held, share, _ = coverage(covariate + 0.3 * normal(DRAWS) + 0.5, 0.5, covariate)
    assert 0.93 <= held <= 0.98
    assert share < 0.3


def test_coverage_with_a_heavy_tail_that_is_known():
    """One pair in eight has residuals ten times as large, and that is known of it."""
    draw = np.random.default_rng(2)
    heavy = draw.random((N, DRAWS)) < 1 / 8
    scale = np.where(heavy, 10.0, 1.0)
    covariate = 5 * draw.normal(size=(N, DRAWS))
    exact = covariate + scale * draw.normal(size=(N, DRAWS))
    held, _, _ = coverage(exact, 0.0, covariate, scale**2)
    unknown, _, _ = coverage(exact, 0.0, covariate)
    assert held >= 0.93
    assert held > unknown
