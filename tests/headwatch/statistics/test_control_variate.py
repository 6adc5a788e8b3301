import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from headwatch.attribution.attribute import attribute_heads
from headwatch.patching import patch_activations
from headwatch.statistics.control_variate import Combined, control_variate
from tests.models import random_pairs, tiny_gpt2

pytestmark = pytest.mark.filterwarnings("ignore:control_variate. .* exact pairs are fewer")


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


def test_cross_fitting_is_unbiased_however_curved() -> None:
    """Over all ways to leave out some of the pairs, each in an order of its own."""
    generator = torch.Generator().manual_seed(6)
    draws, n, n_all = 40_000, 12, 14
    a = torch.randn(n_all, generator=generator, dtype=torch.float64)
    x = a.exp() + a.square()  # far from a line, so that fitting the slope on the same pairs biases
    order = torch.rand(n_all, draws, generator=generator).argsort(0)
    everyone = a[:, None].expand(n_all, draws)
    bias = {}
    for folds in (None, 3):
        found = control_variate(x[order[:n]], a[order[:n]], everyone, folds=folds).mean
        bias[folds] = (abs(found.mean() - x.mean()) / (found.std() / draws**0.5)).item()
    assert bias[3] < 4 < bias[None]


# What is fitted, n, and how much of the closed form's variance the fit may add.
CHOICES = [
    ({"slope": 2.0}, 4, 1.0),
    ({"slope": 2.0}, 16, 1.0),
    ({}, 6, 1.33),  # a slope fitted on n normal pairs adds 1 / (n − 3)
    ({}, 16, 1.08),
    ({"folds": 4}, 12, 1.35),
    ({"folds": 2}, 16, 1.35),
    ({"folds": 8}, 32, 1.8),  # the centre is almost that of the other 32 pairs alone
]


@pytest.mark.parametrize(("fit", "n", "inflation"), CHOICES)
@pytest.mark.parametrize("noise", [0.2, 3.0])
def test_intervals_cover_the_known_mean_of_a_normal_population(
    fit: dict[str, float], n: int, inflation: float, noise: float
) -> None:
    draws, n_all = 4000, 64
    x, a = population(draws * n_all, seed=7, noise=noise)
    x, a = x.view(n_all, draws), a.view(n_all, draws)
    found = control_variate(x[:n], a[:n], a, **fit)
    low, high = found.interval(0.95)
    covered = ((low <= 3) & (high >= 3)).double().mean().item()
    assert 0.93 < covered < 0.965
    # Residual variance / n + slope² var(a) / N, for a slope that is known.
    in_closed_form = noise**2 / n + 4 / n_all
    assert found.mean.mean().item() == pytest.approx(3, abs=4 * (inflation * in_closed_form / draws) ** 0.5)
    variance = found.mean.var().item()
    assert 0.93 * in_closed_form < variance < 1.08 * inflation * in_closed_form
    assert found.stderr.square().mean().item() == pytest.approx(variance, rel=0.15)


def test_degrees_of_freedom_are_those_of_the_part_that_matters() -> None:
    freedom = []
    for noise in (1e-6, 1e3):
        x, a = population(500, seed=8, noise=noise)
        freedom.append(control_variate(x[:12], a[:12], a).degrees_of_freedom.item())
    assert freedom[0] == pytest.approx(499, rel=1e-3)  # all of the error is the N pairs'
    assert freedom[1] == pytest.approx(10, rel=0.1)  # all of it is the n pairs', one lost to the slope
    x, a = population(500, seed=8, noise=1e3)
    assert control_variate(x[:12], a[:12], a, slope=2.0).degrees_of_freedom.item() == pytest.approx(
        11, rel=0.1
    )


def test_a_given_slope_against_numpy() -> None:
    x, a = population(40, seed=9)
    found = control_variate(x[:12], a[:12], a, slope=1.5)
    r, few, everyone = (x[:12] - 1.5 * a[:12]).numpy(), a[:12].numpy(), a.numpy()
    part = r.var(ddof=1) * (1 / 12 - 1 / 40)
    whole = (1.5**2 * everyone.var(ddof=1) + r.var(ddof=1) + 3 * np.cov(r, few)[0, 1]) / 40
    assert found.coefficient.item() == 1.5
    assert found.mean.item() == pytest.approx(r.mean() + 1.5 * everyone.mean())
    assert found.stderr.item() == pytest.approx((part + whole) ** 0.5)
    assert found.degrees_of_freedom.item() == pytest.approx(
        (part + whole) ** 2 / (part**2 / 11 + whole**2 / 39)
    )


def test_an_interval_is_that_of_student_with_the_degrees_of_freedom() -> None:
    mean, stderr = torch.tensor([2.0, 5.0]), torch.tensor([1.0, 0.5])
    found = Combined(mean, stderr, mean, 4, 9, torch.tensor([7.0, 30.0]))
    low, high = found.interval(0.99)  # 3.499 and 2.750 in printed tables
    assert low.tolist() == pytest.approx([2 - 3.499, 5 - 2.750 / 2], abs=1e-3)
    assert high.tolist() == pytest.approx([2 + 3.499, 5 + 2.750 / 2], abs=1e-3)


def test_a_constant_that_is_rounded_counts_as_a_constant() -> None:
    x, _ = population(40, seed=10)
    everyone = torch.full((100,), 0.1, dtype=torch.float64) + torch.tensor([0.0, 1e-17]).double().repeat(50)
    everyone[50:] += 1.4e-17
    for folds in (None, 4):
        found = control_variate(x, everyone[:40], everyone, folds=folds)
        assert found.coefficient.item() == 0.0
        assert found.mean.item() == pytest.approx(x.mean().item())


def test_few_pairs_are_warned_about_and_many_are_not() -> None:
    x, a = population(64, seed=11)
    with pytest.warns(RuntimeWarning, match="control_variate: 31 exact pairs are fewer than 32"):
        control_variate(x[:31], a[:31], a)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        control_variate(x[:32], a[:32], a)


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
    x = torch.zeros(9, 3)
    with pytest.raises(ValueError, match="need one shape"):
        control_variate(x, torch.zeros(4, 3), torch.zeros(9, 3))
    with pytest.raises(ValueError, match="9 exact pairs of 4"):
        control_variate(x, x, x[:4])
    with pytest.raises(ValueError, match="slope=nan: give a finite number"):
        control_variate(x, x, x, slope=float("nan"))


def test_what_cannot_be_honest_is_refused() -> None:
    x = torch.zeros(40, 3)

    def combined(n: int, **fit: float) -> Combined:
        return control_variate(x[:n], x[:n], x, **fit)

    with pytest.raises(ValueError, match="3 exact pairs are too few for an honest error: give 4 or more"):
        combined(3, slope=1.0)
    with pytest.raises(ValueError, match=r"5 exact pairs are too few to fit a slope on: give 6 .* slope=1.0"):
        combined(5)
    with pytest.raises(ValueError, match=r"folds=2 with slope=1.0: .* give one of them"):
        combined(20, folds=2, slope=1.0)
    with pytest.raises(ValueError, match=r"folds=2 of 8 exact pairs: .*; give None"):
        combined(8, folds=2)
    for folds in (1, 2, 7):
        with pytest.raises(ValueError, match=rf"folds={folds} of 12 exact pairs: .*; give 3 to 6, or None"):
            combined(12, folds=folds)
