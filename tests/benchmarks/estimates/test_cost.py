"""What runs cost, held to the count of least arithmetic; and a small model's heads, which share out the large one's."""

import numpy as np
import pytest

from benchmarks.bound import Shape, head_at, head_everywhere, layers_above
from benchmarks.estimates.cost import GPT2_SMALL, gpt2_small_costs
from benchmarks.estimates.prompts import LENGTH

SHAPE = Shape(12, 12, 768, 3072, LENGTH)


def least(positions):
    """One head's run at the last few positions, by layer, in forwards of the least arithmetic."""
    forward = layers_above(SHAPE, -1, LENGTH).flops
    return np.array([head_everywhere(SHAPE, layer, positions).flops / forward for layer in range(12)])


@pytest.mark.parametrize(("kind", "changed"), [("mean", LENGTH), ("denoise", 5)])
def test_exact_runs_cost_their_least_arithmetic_to_a_few_per_cent(kind, changed):
    found = gpt2_small_costs(12, 12, kind, changed)
    np.testing.assert_allclose(found.exact, least(changed), rtol=0.05, atol=1e-3)
    forward = layers_above(SHAPE, -1, LENGTH).flops
    at_answer = [head_at(SHAPE, layer, LENGTH - 1).flops / forward for layer in range(12)]
    np.testing.assert_allclose(found.last, at_answer, rtol=0.05, atol=1e-3)


def test_the_clean_run_costs_one_forward_and_patching_two():
    assert [gpt2_small_costs(4, 4, kind).base for kind in ("mean", "denoise")] == [1, 2]


@pytest.mark.parametrize(("kind", "runs"), [("mean", 2), ("denoise", 3)])
def test_first_order_costs_a_backward_more_than_the_runs_and_runs_all_of_the_last_layer(kind, runs):
    everywhere = 12 * LENGTH * 12 * 768**2 + 768 * 50257  # multiply-adds; unembedded at the answer alone
    forward = layers_above(SHAPE, -1, LENGTH).flops / 2
    assert gpt2_small_costs(12, 12, kind).first_order == pytest.approx(runs * everywhere / forward, rel=0.02)


@pytest.mark.parametrize(("n_layers", "n_heads"), [(4, 4), (8, 8), (12, 12), (5, 3)])
def test_the_heads_of_a_small_model_cost_together_what_those_of_the_large_one_do(n_layers, n_heads):
    found = gpt2_small_costs(n_layers, n_heads, "mean")
    assert found.exact.shape == (n_layers,)
    assert n_heads * found.exact.sum() == pytest.approx(GPT2_SMALL.n_heads * least(LENGTH).sum(), rel=0.05)
    assert (np.diff(found.exact) < 0).all()
