from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from headwatch.attribution.attribute import attribute_heads
from headwatch.patching import patch_activations
from headwatch.statistics.control_variate import control_variate
from tests.models import random_pairs, tiny_gpt2


def population(n: int, seed: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Exact and approximate effects with mean 3, slope 2 and a given residual spread."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, generator=generator, dtype=torch.float64)
    return 3 + 2 * a + noise * torch.randn(n, generator=generator, dtype=torch.float64), a


def test_the_formula_against_numpy() -> None:
    x, a = population(40, seed=1)
    found = control_variate(x[:12], a[:12], a)
    xs, sub, everyone = x[:12].numpy(), a[:12].numpy(), a.numpy()
    slope = np.cov(xs, sub)[0, 1] / np.var(sub, ddof=1)
    assert found.coefficient.item() == pytest.approx(slope)
    assert found.mean.item() == pytest.approx(xs.mean() - slope * (sub.mean() - everyone.mean()))
    assert (found.n, found.n_all) == (12, 40)


def test_approximate_effects_that_are_exact_up_to_a_line_give_the_mean_of_all() -> None:
    x, a = population(200, seed=2, noise=0.0)
    found = control_variate(x[:8], a[:8], a)
    assert found.mean.item() == pytest.approx(x.mean().item())
    assert found.stderr.item() == pytest.approx(x.std().item() / 200**0.5)


def test_all_pairs_exact_give_the_plain_mean_and_error() -> None:
    x, a = population(300, seed=3)
    for folds in (None, 5):
        found = control_variate(x, a, a, folds=folds)
        assert found.mean.item() == pytest.approx(x.mean().item())
        assert found.stderr.item() == pytest.approx(x.std().item() / 300**0.5, rel=0.01)


def test_useless_approximations_do_no_harm() -> None:
    x, _ = population(50, seed=4)
    constant = torch.full((500,), 7.0, dtype=torch.float64)
    found = control_variate(x, constant[:50], constant)
    assert found.coefficient.item() == 0.0
    assert found.mean.item() == pytest.approx(x.mean().item())
    assert found.stderr.item() == pytest.approx(x.std().item() / 50**0.5, rel=0.02)


def every_subset(x: Tensor, a: Tensor, n: int, folds: int | None) -> float:
    """The estimator's exact expectation over all ways to choose the exact pairs, in every order of folds."""
    means = []
    for chosen in combinations(range(len(x)), n):
        rows = torch.tensor(chosen)
        orders = [rows] if folds is None else [rows[o] for o in _all_splits(n)]
        means += [control_variate(x[order], a[order], a, folds=folds).mean.item() for order in orders]
    return float(np.mean(means))


def _all_splits(n: int) -> list[Tensor]:
    """One order for each way to split n pairs into two equal folds, dealt in turn."""
    splits = []
    for first in combinations(range(n), n // 2):
        order = torch.zeros(n, dtype=torch.long)
        order[0::2] = torch.tensor(first)
        order[1::2] = torch.tensor([index for index in range(n) if index not in first])
        splits.append(order)
    return splits


def test_cross_fitting_is_unbiased_over_all_subsets() -> None:
    generator = torch.Generator().manual_seed(6)
    a = torch.randn(8, generator=generator, dtype=torch.float64)
    x = a.exp() + a.square()  # far from a line, so that fitting the slope on the same pairs biases
    assert every_subset(x, a, 4, folds=2) == pytest.approx(x.mean().item(), abs=1e-10)
    assert abs(every_subset(x, a, 4, folds=None) - x.mean().item()) > 1e-3


@pytest.mark.parametrize("folds", [None, 4])
def test_the_standard_error_is_honest(folds: int | None) -> None:
    draws = 3000
    x, a = population(draws * 60, seed=7)
    x, a = x.view(60, draws), a.view(60, draws)
    found = control_variate(x[:16], a[:16], a, folds=folds)
    means, variances = found.mean, found.stderr.square()
    covered = int(((means - 3).abs() < 1.96 * found.stderr).sum())
    in_closed_form = (
        0.25 / 16 + 4 / 60
    )  # residual variance / n + slope² var(a) / N, for a slope that is known
    assert means.mean().item() == pytest.approx(3, abs=4 * (in_closed_form / draws) ** 0.5)
    assert means.var().item() == pytest.approx(in_closed_form, rel=0.15)
    assert variances.mean().item() == pytest.approx(means.var().item(), rel=0.1)
    assert 0.93 < covered / draws < 0.97
    assert means.var().item() < 0.35 * (4 + 0.25) / 16  # of the exact pairs' mean alone


def test_with_attribution_on_a_model() -> None:
    model, pairs = tiny_gpt2(noise=0.1), random_pairs(60, 6)
    exact = patch_activations(model, pairs).per_pair
    approximate = attribute_heads(model, pairs).per_pair
    chosen = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:20]
    found = control_variate(exact[chosen], approximate[chosen], approximate, folds=4)
    assert found.mean.shape == (3, 4)
    error = (found.mean - exact.mean(0)).square().mean()
    assert error < (exact[chosen].mean(0) - exact.mean(0)).square().mean()


def test_what_does_not_fit_together_is_refused() -> None:
    x = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="need one shape"):
        control_variate(x, torch.zeros(4, 3), torch.zeros(9, 3))
    with pytest.raises(ValueError, match="3 exact pairs are too few"):
        control_variate(x[:3], x[:3], x)
    with pytest.raises(ValueError, match="5 exact pairs of 4"):
        control_variate(x, x, x[:4])
    for folds in (1, 3):
        with pytest.raises(ValueError, match="give 2 to 2 for 5 exact pairs"):
            control_variate(x, x, x, folds=folds)
