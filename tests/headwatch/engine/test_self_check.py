"""The engine is never silently wrong: whatever a forward does that the engine does not, hooks answer, with a warning.

What is right comes from `tests.reference`, a GPT-2 written out, with the same change made there.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from transformers import GPT2LMHeadModel
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

import headwatch as hw
from tests.models import random_pairs, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.sweeps import sweep

SLOW = "this model takes one forward per intervention, which is slow: "
ELSE = "its forward computes something else than its modules in GPT-2's order: logits differ by "


@dataclass
class Switch:
    """Whether a change is on: nothing about the modules says so."""

    on: bool = False


def block_changed(
    change: Callable[[torch.Tensor], torch.Tensor], model: GPT2LMHeadModel, switch: Switch
) -> None:
    """A forward of the user's own for block 1."""
    block = model.transformer.h[1]
    plain = type(block).forward

    def own(hidden_states, *args, **kwargs):
        output = plain(block, hidden_states, *args, **kwargs)
        return change(output) if switch.on else output

    block.forward = own


def from_token_ten(value: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    value[:, 10:] *= 2
    return value


def in_larger_batches(value: torch.Tensor) -> torch.Tensor:
    return value * 1.05 if len(value) > 4 else value


def mixed_over_the_batch(value: torch.Tensor) -> torch.Tensor:
    return value + 0.02 * value.mean(0, keepdim=True)


def activation_swapped(model: GPT2LMHeadModel, switch: Switch) -> None:
    """An activation function of GPT-2's type that is not GPT-2's."""

    class Louder(NewGELUActivation):
        def forward(self, value):
            return super().forward(value) * (1.05 if switch.on else 1)

    model.transformer.h[1].mlp.act = Louder()


def projection_patched(model: GPT2LMHeadModel, switch: Switch) -> None:
    """A projection that is exactly Hugging Face's, but for an attribute of this one instance."""
    projection = model.transformer.h[1].attn.c_proj
    plain = Conv1D.forward
    projection.forward = lambda x: plain(projection, x) * (1.05 if switch.on else 1)


STREAM, ATTENTION = "blocks.1.hook_resid_post", "blocks.1.hook_attn_out"
CHANGES = {
    "one per cent off": (partial(block_changed, lambda v: 1.01 * v), STREAM, lambda v: 1.01 * v, ELSE),
    "a thousandth off": (partial(block_changed, lambda v: 1.001 * v), STREAM, lambda v: 1.001 * v, ELSE),
    "from token ten on": (partial(block_changed, from_token_ten), STREAM, from_token_ten, ELSE),
    "in larger batches": (
        partial(block_changed, in_larger_batches),
        STREAM,
        in_larger_batches,
        "its forward computes something else in a batch of 6 prompts than for each alone: logits differ by ",
    ),
    "mixed over the batch": (
        partial(block_changed, mixed_over_the_batch),
        STREAM,
        mixed_over_the_batch,
        ELSE,
    ),
    "another activation": (
        activation_swapped,
        "blocks.1.mlp.hook_post",
        lambda v: 1.05 * v,
        ELSE,
    ),
    "a patched projection": (projection_patched, ATTENTION, lambda v: 1.05 * v, ELSE),
}


def zero_ablation(model, pairs, changed: str | None, change) -> torch.Tensor:
    """The effect of zeroing each head on the logit difference, where the model changes one activation."""

    def difference(zeroed: str | None, head: int) -> torch.Tensor:
        def edit(name, value):
            if name == zeroed:
                value = value.clone()
                value[:, :, head] = 0
            return change(value) if name == changed else value

        logits = forward(model, pairs.clean, edit=edit)[0][:, -1]
        rows = torch.arange(len(pairs))
        return logits[rows, pairs.answer] - logits[rows, pairs.foil]

    heads = [[difference(f"blocks.{layer}.attn.hook_z", head) for head in range(4)] for layer in range(3)]
    return torch.stack([torch.stack(row, 1) for row in heads], 1) - difference(None, 0)[:, None, None]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_no_module_shows_is_caught_whenever_it_happens(name):
    install, changed, change, sentence = CHANGES[name]
    plain, model, switch, pairs = tiny_gpt2(), tiny_gpt2(), Switch(), random_pairs(6, 20)
    install(model, switch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    torch.testing.assert_close(before.per_pair, zero_ablation(plain, pairs, None, None), rtol=0, atol=1e-5)
    switch.on = True
    with pytest.warns(RuntimeWarning) as caught:
        after = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    (warning,) = caught
    assert str(warning.message).startswith(SLOW + sentence)
    expected = zero_ablation(plain, pairs, changed, change)
    torch.testing.assert_close(after.per_pair, expected, rtol=0, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_hooks = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff", engine="hooks")
        assert after.per_pair.equal(by_hooks.per_pair)
        switch.on = False
        again = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    assert again.per_pair.equal(before.per_pair)


def test_a_parametrized_weight_is_served_as_it_is_now():
    model, pairs = tiny_gpt2(), random_pairs(4, 7)
    gain = torch.tensor(1.0)

    class Gain(nn.Module):
        def forward(self, weight):
            return weight * gain

    nn.utils.parametrize.register_parametrization(model.transformer.h[1].attn.c_proj, "weight", Gain())
    hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    gain.fill_(1.5)
    plain = tiny_gpt2()
    with torch.no_grad():
        plain.transformer.h[1].attn.c_proj.weight.mul_(1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effects = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    expected = sweep(plain, pairs, "z", "zero", "logit_diff")
    torch.testing.assert_close(effects.per_pair.double(), expected, rtol=0, atol=1e-5)


def test_another_precision_is_checked_anew():
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    block_changed(lambda v: v * (1.01 if v.dtype == torch.float64 else 1), model, Switch(on=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hw.ablate_heads(model, pairs, kind="zero")
    with pytest.warns(RuntimeWarning, match=ELSE):
        hw.ablate_heads(model.double(), pairs, kind="zero")


def test_a_forward_that_is_another_where_prompts_are_padded():
    model = tiny_gpt2()
    transformer = model.transformer
    plain = type(transformer).forward

    def own(input_ids, attention_mask=None, **kwargs):
        output = plain(transformer, input_ids, attention_mask=attention_mask, **kwargs)
        if attention_mask is not None and not attention_mask.all():
            output.last_hidden_state = 1.05 * output.last_hidden_state
        return output

    transformer.forward = own
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hw.ablate_heads(model, random_pairs(4, 7), kind="zero")
    with pytest.warns(RuntimeWarning, match=ELSE):
        hw.ablate_heads(model, random_pairs(4, 7, lengths=[7, 7, 5, 7]), kind="zero")


@pytest.mark.parametrize("prompt", ["clean", "corrupted"])
def test_both_prompts_of_the_longest_pair_are_compared(prompt):
    """A forward that is another on one prompt alone."""
    model, pairs = tiny_gpt2(), random_pairs(4, 9, shared=3, lengths=[7, 9, 7, 8])
    odd, transformer = getattr(pairs, prompt)[1], model.transformer
    plain = type(transformer).forward

    def own(input_ids=None, **kwargs):
        output = plain(transformer, input_ids=input_ids, **kwargs)
        is_odd = torch.tensor([len(row) == len(odd) and bool((row == odd).all()) for row in input_ids])
        output.last_hidden_state = output.last_hidden_state * torch.where(is_odd, 1.01, 1.0)[:, None, None]
        return output

    transformer.forward = own
    with pytest.warns(RuntimeWarning, match=ELSE):
        hw.patch_activations(model, pairs)


QUESTIONS = {
    "heads": lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="logit_diff"),
    "by position": lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="loss", by_position=True),
    "accuracy": lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="accuracy"),
    "sequence loss": lambda m, p: hw.ablate_heads(m, p, kind="mean", metric="sequence_loss"),
    "kl": lambda m, p: hw.ablate(m, p, "attn_out", kind="zero", metric="kl"),
    "resampling": lambda m, p: hw.ablate(m, p, "q", kind="resample", metric="prob"),
    "neurons": lambda m, p: hw.ablate(m, p, "post", kind="zero", metric="prob_diff", neurons=[3, 9, 11]),
    "patching": lambda m, p: hw.patch_activations(m, p, "pattern"),
    "layers": lambda m, p: hw.patch_activations(m, p, "resid_mid", direction="noise", by_position=True),
    "given": lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="loss", given=[(0, 1), (1, 2)]),
    "sets": lambda m, p: hw.ablate_head_sets(m, p, [[(0, 1)], [(1, 1), (2, 0)]], kind="zero", metric="loss"),
    "paths to logits": lambda m, p: hw.patch_paths(m, p),
    "paths to heads": lambda m, p: hw.patch_paths(m, p, [(1, 1), (2, 3)], receiver_input="k", mlps="frozen"),
    "activation": lambda m, p: hw.ablate_heads(
        m, p, kind="zero", metric=hw.metrics.activation("post2", neuron=3)
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_checked_with_one_warning_at_the_users_own_line(question):
    model, pairs = tiny_gpt2(), random_pairs(4, 12)
    block_changed(from_token_ten, model, Switch(on=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        QUESTIONS[question](model, pairs)
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.lineno == QUESTIONS[question].__code__.co_firstlineno
    assert str(warning.message).startswith(SLOW + ELSE)
    assert "at position 1" in str(warning.message)
    assert str(warning.message).endswith("(the streams part in layer 1)")


def other_where_silenced(model: GPT2LMHeadModel) -> None:
    """The same model as long as nobody intervenes: a 0 that no run holds by itself becomes another number."""
    for block in model.transformer.h:
        for projection in (block.attn.c_proj, block.mlp.c_proj):
            plain = projection.forward
            projection.forward = lambda x, plain=plain: plain(x.masked_fill(x == 0, 0.5))
        block.forward = lambda x, *args, block=block, **kwargs: type(block).forward(
            block, x + (x == 0) * torch.linspace(0, 1, x.shape[-1]), *args, **kwargs
        )


BY_HOOK = (
    "(logit_diff|loss|prob_diff) changes by .* by the engine and .* by the model's own forward on replacing "
)


@pytest.mark.parametrize(
    ("ask", "place"),
    [
        (QUESTIONS["heads"], "z of head . in layer 0"),
        (QUESTIONS["by position"], "z of head . in layer 0 at position ."),
        (QUESTIONS["accuracy"], "z of head . in layer 0"),
        (QUESTIONS["neurons"], "post of neuron (3|9|11) in layer 0"),
        (QUESTIONS["sets"], r"z of the heads \[\(0, 1\)\]"),
        (
            lambda m, p: hw.ablate_heads(m, p, kind="zero", metric="loss", layers=[2]),
            "z of head . in layer 2",
        ),
        (lambda m, p: hw.ablate(m, p, "pattern", kind="zero", metric="loss"), "pattern of head . in layer 0"),
        (lambda m, p: hw.ablate(m, p, "v", kind="zero", metric="loss"), "v of head . in layer 0"),
        (lambda m, p: hw.ablate(m, p, "resid_pre", kind="zero", metric="loss"), "resid_pre in layer ."),
    ],
)
def test_an_intervention_that_is_another_by_a_hook_is_caught(ask, place):
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    other_where_silenced(model)
    with pytest.warns(RuntimeWarning, match=f"{BY_HOOK}{place}$"):
        ask(model, pairs)


def test_the_metric_itself_is_compared():
    """Of an unembedding that is a plain matrix, the engine takes the answers' rows without a call."""
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    model.lm_head.forward = lambda x: 1.01 * nn.Linear.forward(model.lm_head, x)
    with pytest.warns(RuntimeWarning, match="logit_diff on the clean prompt is .* by the engine and"):
        effects = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    expected = 1.01 * sweep(tiny_gpt2(), pairs, "z", "zero", "logit_diff")
    torch.testing.assert_close(effects.per_pair.double(), expected, rtol=0, atol=1e-4)


def test_a_probability_near_zero_hides_no_intervention():
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    with torch.no_grad():
        model.lm_head.weight[pairs.answer[0]] = 0
        model.lm_head.weight[(pairs.answer[0] + 1) % 61] = 20 * torch.ones(32)
        model.transformer.ln_f.bias.fill_(1)
    other_where_silenced(model)
    with pytest.warns(RuntimeWarning, match="loss changes by") as caught:
        effects = hw.ablate_heads(model, pairs[:1], kind="zero", metric=["prob", "accuracy"])
    assert len(caught) == 1
    assert effects["prob"].per_pair.abs().max() < 1e-9


def test_given_heads_are_compared_too():
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    other_where_silenced(model)
    with pytest.warns(RuntimeWarning, match="loss with the given heads replaced is .* by the engine and"):
        QUESTIONS["given"](model, pairs)


def test_where_the_engine_is_required_the_same_sentence_is_an_error():
    model, pairs, switch = tiny_gpt2(), random_pairs(3, 6), Switch()
    block_changed(lambda v: 1.01 * v, model, switch)
    hw.ablate_heads(model, pairs, kind="zero", engine="exact")
    switch.on = True
    with pytest.raises(RuntimeError, match=f"engine='exact' can't serve this model: {ELSE}.*in layer 1"):
        hw.ablate_heads(model, pairs, kind="zero", engine="exact")


SERVED = {
    "plain": tiny_gpt2,
    "eager": partial(tiny_gpt2, attn_implementation="eager"),
    "by inverse layer": partial(tiny_gpt2, scale_attn_by_inverse_layer_idx=True, scale_attn_weights=False),
    "upcast": partial(tiny_gpt2, reorder_and_upcast_attn=True),
    "wide outliers": lambda: outliers(tiny_gpt2(n_embd=128)),
    "small weights": partial(tiny_gpt2, noise=1e-3),
    "deep": partial(tiny_gpt2, n_layer=8),
    "relu": partial(tiny_gpt2, activation_function="relu"),
    "double": lambda: tiny_gpt2().double(),
    "double, upcast": lambda: tiny_gpt2(reorder_and_upcast_attn=True).double(),
    "bfloat16, upcast, eager": lambda: tiny_gpt2(
        reorder_and_upcast_attn=True, attn_implementation="eager"
    ).bfloat16(),
    "bfloat16": lambda: tiny_gpt2().bfloat16(),
    "half": lambda: tiny_gpt2().half(),
    "diverged": lambda: diverged(tiny_gpt2()),
}


def outliers(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """A few dimensions hundreds of times as large as the others, as in trained models."""
    with torch.no_grad():
        model.transformer.wpe.weight[:, :2] *= 300
    return model


def diverged(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight.fill_(torch.nan)
    return model


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", SERVED)
def test_no_false_alarm(name, padded):
    model = SERVED[name]()
    pairs = random_pairs(5, 9, lengths=[9, 7, 9, 8, 5] if padded else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for question in (
            "heads",
            "sequence loss",
            "kl",
            "neurons",
            "patching",
            "paths to heads",
            "activation",
        ):
            QUESTIONS[question](model, pairs)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=model.dtype != torch.float16):
            QUESTIONS["heads"](model, pairs)
