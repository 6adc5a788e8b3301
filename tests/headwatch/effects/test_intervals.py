"""Intervals, p-values and marks of `Effects`, against figures worked out by hand and by simulation."""

import numpy as np
import pytest
import torch

from headwatch.effects import Effects

LAYERS, HEADS = 3, 4


def ablation(per_pair: torch.Tensor, dims: tuple[str, ...] = ("layer", "head"), **others: object) -> Effects:
    clean = torch.zeros(len(per_pair))
    return Effects(per_pair, clean, None, dims, "z", "mean", "loss", **others)


def patching(effects: torch.Tensor, clean: torch.Tensor, corrupted: torch.Tensor, kind: str) -> Effects:
    return Effects(effects, clean, corrupted, ("head",), "z", kind, "logit_diff")


def with_stderr(mean: list[float], n: int = 3) -> Effects:
    """Effects with these means and a standard error of 0.1 each."""
    spread = 0.1 * n**0.5 * torch.linspace(-1, 1, n)
    spread = spread / spread.std() * 0.1 * n**0.5
    return ablation(torch.tensor([mean]) + spread[:, None], dims=("head",))


def test_three_pairs_reach_4_30_standard_errors():
    low, high = with_stderr([1.0, -2.0]).interval()
    np.testing.assert_allclose(low, [1 - 0.4303, -2 - 0.4303], atol=1e-4)
    np.testing.assert_allclose(high, [1 + 0.4303, -2 + 0.4303], atol=1e-4)


def test_another_level():
    low, high = with_stderr([0.0], n=8).interval(0.99)
    assert (high - low).item() == pytest.approx(2 * 3.499 * 0.1, rel=1e-3)
    with pytest.raises(ValueError, match="level=95"):
        with_stderr([0.0]).interval(95.0)


def test_intervals_hold_the_true_effect_as_often_as_they_say_with_few_pairs():
    generator = torch.Generator().manual_seed(0)
    low, high = ablation(0.7 + torch.randn(4, 40, 100, generator=generator)).interval(0.9)
    covered = ((low < 0.7) & (high > 0.7)).double().mean().item()
    assert covered == pytest.approx(0.9, abs=0.015)  # three standard errors of 4,000 draws


def test_a_p_value_is_the_share_of_effects_as_large_where_there_is_none():
    generator = torch.Generator().manual_seed(1)
    p = ablation(torch.randn(5, 40, 100, generator=generator)).p_values()
    for level in (0.01, 0.05, 0.5):
        assert (p < level).double().mean().item() == pytest.approx(level, abs=4 * (level / 4000) ** 0.5)


def test_p_values_of_three_pairs_in_closed_form():
    # With two degrees of freedom P(|T| > t) = 1 − t / sqrt(2 + t²).
    t = torch.tensor([5.0, 0.0, -20.0])
    p = with_stderr((t * 0.1).tolist()).p_values()
    expected = 1 - t.abs() / (2 + t**2).sqrt()
    assert p.dtype == torch.float64
    np.testing.assert_allclose(p, expected, rtol=1e-4)


def test_chance_alone_is_not_significant_where_single_intervals_leave_out_0():
    generator = torch.Generator().manual_seed(2)
    effects = ablation(torch.randn(16, 12, 12, generator=generator))
    low, high = effects.interval()
    assert ((low > 0) | (high < 0)).sum() >= 3
    assert not effects.significant().any()


def test_benjamini_hochberg_goes_over_all_cells():
    # p-values of 8 pairs: the second is significant only because of the first, and neither by Bonferroni alone.
    effects = with_stderr([0.60, 0.33, 0.0, 0.01], n=8)
    p = effects.p_values()
    assert p[0] < 0.05 / 4 < p[1] < 0.05 * 2 / 4
    assert effects.significant().tolist() == [True, True, False, False]
    assert effects.significant(q=0.004).tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="q=5"):
        effects.significant(5.0)


def test_nan_stays_nan_and_is_never_significant():
    per_pair = torch.randn(6, LAYERS, HEADS, generator=torch.Generator().manual_seed(3)) + 9
    per_pair[2, 1, 3] = torch.nan
    effects = ablation(per_pair)
    low, high = effects.interval()
    for values in (effects.mean, low, high, effects.p_values()):
        assert values.isnan().sum() == 1
        assert values[1, 3].isnan()
    assert not effects.significant()[1, 3]
    assert effects.significant().sum() == LAYERS * HEADS - 1


def test_one_pair_has_no_interval_no_p_value_and_no_mark():
    effects = ablation(torch.ones(1, LAYERS, HEADS))
    assert all(end.isnan().all() for end in (*effects.interval(), effects.p_values()))
    assert not effects.significant().any()


def test_tensors_stay_on_their_dtype():
    effects = ablation(torch.ones(3, 2, 2, dtype=torch.float64))
    assert effects.interval()[0].dtype == torch.float64
    assert ablation(torch.ones(3, 2, 2)).interval()[0].dtype == torch.float32


def simulated_coverage(kind: str, n: int, draws: int, level: float) -> tuple[float, float]:
    """How often the interval of `normalized` holds the truth, 0.3, and how often the naive one would.

    The gap between clean and corrupted prompts is 2 ± 1 from pair to pair. The naive interval divides the effect's
    own by the mean gap, as if that were known.
    """
    generator = torch.Generator().manual_seed(5)
    held = naive = 0
    for _ in range(draws):
        gap = 2 + torch.randn(n, generator=generator)
        corrupted = torch.randn(n, generator=generator)
        restored = 0.3 * 2 + 0.2 * torch.randn(n, 1, generator=generator)
        effect = restored if kind == "denoise" else restored - gap[:, None]
        effects = patching(effect, corrupted + gap, corrupted, kind)
        low, high = effects.normalized_interval(level)
        held += int(low < 0.3 < high)
        low, high = (end / gap.mean() for end in ablation(restored, dims=("head",)).interval(level))
        naive += int(low < 0.3 < high)
    return held / draws, naive / draws


@pytest.mark.parametrize("kind", ["denoise", "noise"])
def test_the_interval_of_normalized_holds_the_true_ratio_as_often_as_it_says(kind):
    held, naive = simulated_coverage(kind, n=8, draws=2000, level=0.9)
    assert held == pytest.approx(0.9, abs=0.02)  # three standard errors of 2,000 draws
    assert naive < 0.8


def test_an_interval_of_normalized_in_closed_form():
    """Fieller's quadratic solved by search: the ratios that a t-test of numerator − r · denominator keeps."""
    generator = torch.Generator().manual_seed(6)
    gap, restored = 2 + torch.randn(7, generator=generator), torch.randn(7, 2, generator=generator)
    effects = patching(restored, gap, torch.zeros(7), "denoise")
    low, high = effects.normalized_interval()
    ratios = np.linspace(-10, 10, 400_001)
    for head in range(2):
        rest = restored[:, head].double().numpy()[:, None] - ratios * gap.double().numpy()[:, None]
        t = np.abs(rest.mean(0)) / (rest.std(0, ddof=1) / 7**0.5)
        kept = ratios[t <= 2.4469119]  # of 6 degrees of freedom
        assert low[head].item() == pytest.approx(kept.min(), abs=1e-4)
        assert high[head].item() == pytest.approx(kept.max(), abs=1e-4)
        assert kept.min() < effects.normalized[head].item() < kept.max()


def test_a_gap_that_may_be_0_leaves_normalized_open():
    gap = torch.tensor([1.0, -1.0, 0.5, -0.4])
    low, high = patching(torch.ones(4, 2), gap, torch.zeros(4), "denoise").normalized_interval()
    assert (low == -torch.inf).all()
    assert (high == torch.inf).all()


def test_a_head_that_restores_everything_in_every_pair_has_no_width():
    gap = torch.tensor([2.0, 2.25, 2.5])
    low, high = patching(gap[:, None], gap, torch.zeros(3), "denoise").normalized_interval()
    assert low.item() == pytest.approx(1)
    assert high.item() == pytest.approx(1)


def test_the_interval_of_normalized_keeps_nan_and_needs_a_corrupted_run():
    per_pair = torch.tensor([[1.0, torch.nan], [1.5, 1.0], [1.2, 2.0]])
    low, _ = patching(per_pair, torch.ones(3), torch.zeros(3), "denoise").normalized_interval()
    assert low.isnan().tolist() == [False, True]
    single = patching(per_pair[:1], torch.ones(1), torch.zeros(1), "denoise").normalized_interval()
    assert all(end.isnan().all() for end in single)
    with pytest.raises(ValueError, match="kind='mean' makes none: use patch_activations"):
        ablation(torch.ones(3, 2, 2)).normalized_interval()
