"""Expected values are numpy's, in float64."""

import numpy as np
import pytest
import torch

from headwatch.effects.head_effects import HeadEffects
from tests.compare import close

PAIRS, LAYERS, HEADS = 7, 3, 4


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
