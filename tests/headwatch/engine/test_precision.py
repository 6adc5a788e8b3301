"""bfloat16 as a screening mode, and the autocast of the training that a probe runs in."""

import warnings

import pytest
import torch

import headwatch as hw
from tests.models import random_pairs, tiny_gpt2
from tests.reference.sweeps import sweep


def difference_of_hooks(model, pairs, layer: int, head: int | None) -> torch.Tensor:
    """The logit difference by PyTorch's own hooks, in whatever precision the surroundings ask for."""
    attention, d_head = model.transformer.h[layer].attn, model.config.n_embd // model.config.n_head

    def silence(module, args):
        value = args[0].clone()
        if head is not None:
            value[..., head * d_head : (head + 1) * d_head] = 0
        return (value,)

    handle = attention.c_proj.register_forward_pre_hook(silence)
    with torch.no_grad():
        logits = model(pairs.clean).logits[:, -1].float()
    handle.remove()
    return (logits.gather(1, pairs.answer[:, None]) - logits.gather(1, pairs.foil[:, None]))[:, 0]


QUESTIONS = {
    "heads": lambda model, pairs, **options: hw.ablate_heads(
        model, pairs, kind="zero", metric="logit_diff", **options
    ),
    "patching": lambda model, pairs, **options: hw.patch_activations(model, pairs, **options),
    "sets": lambda model, pairs, **options: hw.ablate_head_sets(
        model, pairs, [[(0, 1), (1, 1)]], kind="zero", metric="logit_diff", **options
    ),
    "paths": lambda model, pairs, **options: hw.patch_paths(model, pairs, **options),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_bf16_is_near_and_not_the_same(question):
    model, pairs = tiny_gpt2(seed=1), random_pairs(4, 7)
    exact = QUESTIONS[question](model, pairs)
    rough = QUESTIONS[question](model, pairs, precision="bf16")
    error = (rough.per_pair - exact.per_pair).abs().max() / exact.per_pair.abs().max()
    assert 1e-4 < error < 0.1
    assert rough.per_pair.dtype == torch.float32
    assert QUESTIONS[question](model, pairs).per_pair.equal(exact.per_pair)


def test_the_engine_serves_a_model_under_autocast_without_a_word():
    model, pairs = tiny_gpt2(seed=2), random_pairs(4, 7)
    exact = sweep(model, pairs, "z", "zero", "logit_diff")
    with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
        warnings.simplefilter("error")
        effects = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
        before = difference_of_hooks(model, pairs, 0, None)
        by_hooks = [
            [difference_of_hooks(model, pairs, layer, head) - before for head in range(4)]
            for layer in range(3)
        ]
    expected = torch.stack([torch.stack(row, 1) for row in by_hooks], 1)
    scale = exact.abs().max().item()
    assert (effects.per_pair - exact).abs().max() > 1e-4 * scale, "autocast had no effect"
    torch.testing.assert_close(effects.per_pair, expected, rtol=0, atol=0.1 * scale)


def test_bf16_asks_for_the_same_as_autocast_around_the_question():
    model, pairs = tiny_gpt2(seed=3), random_pairs(3, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = hw.ablate_heads(model, pairs, kind="zero", metric="loss")
    assert hw.ablate_heads(model, pairs, kind="zero", precision="bf16", metric="loss").per_pair.equal(
        around.per_pair
    )


def test_an_unknown_precision_is_one_clear_sentence():
    with pytest.raises(ValueError, match="unknown precision 'fp8'; known: bf16, or None for the model's own"):
        hw.ablate_heads(tiny_gpt2(), random_pairs(3, 5), precision="fp8", metric="loss")
