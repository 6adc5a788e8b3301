"""Expected values are numpy's, in float64."""

import numpy as np
import pytest
import torch

from headwatch.effects import Effects, HeadEffects

PAIRS, LAYERS, HEADS = 7, 3, 4


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(kind: str = "denoise", n: int = PAIRS, corrupted: bool = True) -> Effects:
    return Effects(
        per_pair=numbers(n, LAYERS, HEADS),
        clean=numbers(n, seed=1) + 3,
        corrupted=numbers(n, seed=2) if corrupted else None,
        dims=("layer", "head"),
        site="z",
        kind=kind,
        metric="logit_diff",
    )


def close(actual: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_mean_and_standard_error_over_pairs():
    effects = made()
    values = effects.per_pair.double().numpy()
    assert effects.n == PAIRS
    close(effects.mean, values.sum(0) / PAIRS)
    variance = ((values - values.mean(0)) ** 2).sum(0) / (PAIRS - 1)
    close(effects.stderr, np.sqrt(variance / PAIRS))


def test_one_pair_has_a_mean_and_no_standard_error():
    effects = made(n=1)
    assert effects.stderr.isnan().all()
    assert torch.equal(effects.mean, effects.per_pair[0])


@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample", "noise", "denoise"])
def test_effects_are_measured_from_the_clean_run_unless_it_is_denoising(kind):
    effects = made(kind)
    start = effects.corrupted if kind == "denoise" else effects.clean
    assert torch.equal(effects.not_intervened, start)
    assert effects.baseline == pytest.approx(start.double().numpy().mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["noise", "denoise"])
def test_normalized_is_0_as_corrupted_and_1_as_clean(kind):
    effects = made(kind)
    clean, corrupted = (part.double().numpy() for part in (effects.clean, effects.corrupted))
    start = corrupted if kind == "denoise" else clean
    metric = (start[:, None, None] + effects.per_pair.double().numpy()).mean(0)
    close(effects.normalized, (metric - corrupted.mean()) / (clean.mean() - corrupted.mean()))


def test_an_intervention_that_restores_the_clean_run_has_normalized_1():
    clean, corrupted = torch.tensor([3.0, 5.0]), torch.tensor([1.0, -1.0])
    whole = torch.stack([clean - corrupted, torch.zeros(2)], dim=1)
    effects = Effects(whole, clean, corrupted, ("head",), "z", "denoise", "logit_diff")
    assert effects.normalized.tolist() == [1.0, 0.0]


def test_normalized_needs_a_corrupted_run():
    with pytest.raises(ValueError, match="kind='mean' makes none: use patch_activations"):
        _ = made("mean", corrupted=False).normalized


def test_normalized_needs_prompts_that_score_differently():
    same = torch.tensor([1.0, 2.0])
    effects = Effects(numbers(2, 3), same, same.flip(0), ("head",), "z", "noise", "logit_diff")
    with pytest.raises(ValueError, match=r"undefined: logit_diff is 1\.5 on clean and corrupted alike"):
        _ = effects.normalized


@pytest.mark.parametrize("corrupted", [True, False])
def test_to_moves_every_tensor(corrupted):
    moved = made("noise", corrupted=corrupted).to("meta")
    assert moved.per_pair.is_meta
    assert moved.clean.is_meta
    assert moved.corrupted is None or moved.corrupted.is_meta
    assert moved.dims == ("layer", "head")


def accumulated(*batches: torch.Tensor) -> HeadEffects:
    metric = HeadEffects((LAYERS, HEADS))
    for batch in batches:
        metric.update(batch)
    return metric


def test_batch_by_batch_equals_all_at_once():
    values = numbers(PAIRS, LAYERS, HEADS)
    parts = accumulated(values[:1], values[1:4], values[4:]).compute()
    effects = values.double().numpy()
    assert parts["n"] == PAIRS
    close(parts["mean"], effects.mean(0))
    close(parts["stderr"], effects.std(0, ddof=1) / np.sqrt(PAIRS))


def test_ranks_merge_by_summing_their_states():
    values = numbers(PAIRS, LAYERS, HEADS)
    one, two, merged = accumulated(values[:5]), accumulated(values[5:]), HeadEffects((LAYERS, HEADS))
    for state, reduce in merged._reductions.items():
        stacked = torch.stack([getattr(one, state), getattr(two, state)])
        setattr(merged, state, reduce(stacked))
    merged._update_count = 1
    whole = accumulated(values).compute()
    for name, value in merged.compute().items():
        torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-7)


def test_one_pair_has_no_standard_error_batch_by_batch_either():
    found = accumulated(numbers(1, LAYERS, HEADS)).compute()
    assert found["n"] == 1
    assert found["stderr"].isnan().all()
    assert not found["mean"].isnan().any()


def test_effects_far_from_zero_keep_their_standard_error():
    values = 1000 + numbers(500, LAYERS, HEADS)
    expected = values.double().numpy().std(0, ddof=1) / np.sqrt(500)
    np.testing.assert_allclose(accumulated(values).compute()["stderr"].numpy(), expected, rtol=1e-4)


def test_states_are_sums_in_float64_that_a_reset_clears():
    metric = accumulated(numbers(PAIRS, LAYERS, HEADS))
    assert metric.total.dtype == metric.total_square.dtype == torch.float64
    assert metric.count == PAIRS
    metric.reset()
    assert metric.count == 0
    assert not metric.total.any()
    assert not metric.total_square.any()
    metric.update(numbers(2, LAYERS, HEADS, seed=5))
    close(metric.compute()["mean"], numbers(2, LAYERS, HEADS, seed=5).double().numpy().mean(0))


@pytest.mark.parametrize("shape", [(2, HEADS, LAYERS), (2, LAYERS), (2, LAYERS, HEADS, 1)])
def test_effects_of_another_shape_are_an_error(shape):
    with pytest.raises(ValueError, match=r"effects of shape .*, expected \[pair, \(3, 4\)\]"):
        HeadEffects((LAYERS, HEADS)).update(torch.zeros(shape))


def test_updates_keep_no_graph():
    values = numbers(2, LAYERS, HEADS).requires_grad_()
    assert not accumulated(values).total.requires_grad
