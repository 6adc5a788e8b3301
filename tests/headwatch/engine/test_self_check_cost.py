"""What the engine's check of itself costs, beside the sweep that it goes before."""

import pytest
from transformers import GPT2LMHeadModel

import headwatch as hw
from tests.models import random_pairs, tiny_gpt2


def tokens_through_mlps(model: GPT2LMHeadModel) -> list[int]:
    """How many tokens go through each MLP's norm, and through the last norm to the unembedding."""
    counts: list[int] = []
    for norm in [*(block.ln_2 for block in model.transformer.h), model.transformer.ln_f]:
        norm.forward = lambda x, plain=norm.forward: (counts.append(x[..., 0].numel()), plain(x))[1]
    return counts


@pytest.mark.parametrize(
    "ask",
    [
        lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="loss"),
        lambda m, p: hw.patch_activations(m, p, metric=["logit_diff", "loss", "kl", "prob"]),
    ],
)
def test_the_check_costs_two_per_cent_of_a_sweep_of_64_pairs(ask, request):
    model = tiny_gpt2(n_layer=12, n_head=12, n_embd=24)
    pairs, counts = random_pairs(64, 15, shared=0), tokens_through_mlps(model)
    ask(model, pairs)
    checked = sum(counts)
    counts.clear()
    request.getfixturevalue("unchecked")
    ask(model, pairs)
    assert sum(counts) < checked <= 1.02 * sum(counts)
