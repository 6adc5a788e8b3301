"""Which heads of estimates made by hand are marked as not to be trusted."""

import pytest
import torch

from headwatch.effects.estimated import EstimatedEffects

N = 64


def estimated(exact, covariate, tail, n_exact, name="first order"):
    """Effects of single heads: exact values of the first pairs, and what is known of all; all `[pair, head]`."""
    values = exact.clone()
    values[n_exact:] = float("nan")
    parts = (each[:, None].float() for each in (values, covariate, tail))
    tasks, order = torch.zeros(N, dtype=torch.long), torch.arange(N)
    asked = (("layer", "head"), "z", "mean", "logit_diff", 0.2, 0.2, (name,))
    return EstimatedEffects(*parts, tasks, order, torch.zeros(N), None, *asked)


def normal(n_heads=1, seed=0):
    return torch.randn(N, n_heads, generator=torch.Generator().manual_seed(seed))


def few(carrying, first):
    """Effects of nearly 0 but for some pairs from `first` on."""
    values = 0.01 * normal()
    values[first : first + carrying] += 5
    return values


def test_normal_effects_are_trusted():
    effects = normal(20)
    found = estimated(effects, effects + 0.1 * normal(20, seed=1), torch.ones(N, 20), n_exact=8)
    assert not found.suspect.any()


@pytest.mark.parametrize(("carrying", "marked"), [(3, True), (6, True), (8, False), (30, False)])
@pytest.mark.parametrize("n_exact", [8, N])
def test_a_head_whose_spread_lies_in_fewer_than_8_pairs_worth_is_suspect(carrying, marked, n_exact):
    effects = few(carrying, first=2)
    assert estimated(effects, effects, torch.ones(N, 1), n_exact).suspect.tolist() == [[marked]]


@pytest.mark.parametrize(("factor", "marked"), [(2.5, False), (4.0, True)])
def test_a_head_whose_runs_have_missed_its_tail_is_suspect(factor, marked):
    tail = torch.ones(N, 1)
    tail[8:] = (factor * N - 8) / (N - 8)
    effects = normal()
    assert estimated(effects, effects, tail, n_exact=8).suspect.tolist() == [[marked]]


def test_without_a_covariate_only_the_pairs_that_were_run_count():
    nothing = torch.zeros(N, 1)
    assert not estimated(normal(), nothing, nothing, n_exact=16, name="none").suspect.any()
    assert estimated(few(1, first=2), nothing, nothing, n_exact=40, name="none").suspect.all()


@pytest.mark.parametrize(("n_exact", "marked"), [(4, True), (15, True), (16, False), (N, False)])
def test_without_a_covariate_few_runs_are_not_to_be_trusted(n_exact, marked):
    nothing = torch.zeros(N, 1)
    assert estimated(normal(), nothing, nothing, n_exact, name="none").suspect.tolist() == [[marked]]
