"""Stacks and read-outs at some positions are those of `tests.reference.functional`, cut to them."""

import pytest
import torch

from headwatch.model.activation_cache import ActivationCache
from headwatch.model.hooked_model import attach
from tests.compare import tensors_close
from tests.models import random_ids, tiny_gpt2
from tests.reference.functional import forward

HEADS, BATCH, LENGTH = 4, 7, 7  # as many prompts as positions, so that axes could be mistaken for each other
EACH = torch.tensor([6, 2, -1, 0, 3, -7, 5])
AT = {
    "last": (-1, lambda value: value[:, 6]),
    "number": (2, lambda value: value[:, 2]),
    "slice": (slice(2, -1), lambda value: value[:, 2:6]),
    "one a prompt": (EACH, lambda value: value[torch.arange(BATCH), EACH % LENGTH]),
}
ANSWER, FOIL = torch.arange(3, 3 + BATCH), torch.arange(40, 40 + BATCH)


@pytest.fixture(scope="module")
def made():
    model, ids = tiny_gpt2(seed=2), random_ids(BATCH, LENGTH)
    with torch.no_grad(), attach(model) as hooked:
        logits, expected = forward(model, ids)
        return model, hooked.run_with_cache(ids)[1], logits, expected


@pytest.fixture(params=AT)
def at(request):
    return AT[request.param]


def test_stacks_hold_the_asked_positions(made, at):
    _, cache, _, expected = made
    pos, cut = at
    tensors_close(cache.accumulated_resid(pos=pos)[1], cut(expected["blocks.1.hook_resid_pre"]))
    tensors_close(cache.decompose_resid(pos=pos)[1], cut(expected["hook_pos_embed"]))
    tensors_close(cache.decompose_resid(pos=pos)[3], cut(expected["blocks.0.hook_mlp_out"]))
    heads = cache.stack_head_results(pos=pos, incl_remainder=True)
    tensors_close(heads[6], cut(expected["blocks.1.attn.hook_result"][:, :, 2]))
    tensors_close(heads.sum(0), cut(expected["blocks.2.hook_resid_post"]))
    tensors_close(cache.stack_activation("mlp_out", pos=pos)[2], cut(expected["blocks.2.hook_mlp_out"]))


def test_patterns_are_cut_at_their_queries(made, at):
    _, cache, _, expected = made
    pos, cut = at
    by_query = expected["blocks.1.attn.hook_pattern"].movedim(2, 1)
    found = cache.stack_activation("pattern", pos=pos)[1]
    tensors_close(found.movedim(2, 1) if found.ndim == 4 else found, cut(by_query))


def test_scaled_parts_and_attributions_at_positions(made, at):
    model, cache, logits, expected = made
    pos, cut = at
    parts = cache.decompose_resid(pos=pos)
    tensors_close(cache.apply_ln_to_stack(parts, pos=pos).sum(0), cut(expected["ln_final.hook_normalized"]))
    tensors_close(
        cache.decompose_resid(pos=pos, apply_ln=True).sum(0), cut(expected["ln_final.hook_normalized"])
    )
    unbiased = logits - model.lm_head.weight @ model.transformer.ln_f.bias
    rows = torch.arange(BATCH)
    difference = unbiased[rows, :, ANSWER] - unbiased[rows, :, FOIL]
    tensors_close(cache.logit_attrs(parts, ANSWER, FOIL, pos=pos).sum(0), cut(difference))
    tensors_close(cache.logit_attrs(parts, 5, pos=pos).sum(0), cut(unbiased[..., 5]))


def test_the_logit_lens_at_positions(made, at):
    _, cache, logits, _ = made
    pos, cut = at
    with torch.no_grad():
        tensors_close(cache.logit_lens(pos=pos)[-1], cut(logits))


def test_a_cache_of_some_positions_says_the_same_and_holds_no_others(made, at):
    model, whole, _, _ = made
    pos, cut = at
    with torch.no_grad(), attach(model) as hooked:
        _, cache = hooked.run_with_cache(random_ids(BATCH, LENGTH), pos=pos)
    parts = cache.decompose_resid()
    tensors_close(parts, whole.decompose_resid(pos=pos))
    expected = whole.logit_attrs(whole.decompose_resid(pos=pos), ANSWER, FOIL, pos=pos)
    tensors_close(cache.logit_attrs(parts, ANSWER, FOIL), expected)
    tensors_close(cache.stack_head_results(), whole.stack_head_results(pos=pos))
    tensors_close(cache.to("cpu").logit_attrs(parts, ANSWER, FOIL), expected)
    kept = cut(whole["resid_post", 1])
    assert cache["resid_post", 1].untyped_storage().nbytes() == kept.numel() * 4


def test_a_single_prompt_at_a_position(made):
    _, _, _, expected = made
    with torch.no_grad(), attach(tiny_gpt2(seed=2)) as hooked:
        cache = hooked.run_with_cache(random_ids(BATCH, LENGTH)[:1])[1].remove_batch_dim()
    tensors_close(cache.decompose_resid(pos=-1).sum(0), expected["blocks.2.hook_resid_post"][0, -1])
    assert cache.logit_attrs(cache.decompose_resid(pos=-1), 5, pos=-1).shape == (8,)
    with pytest.raises(
        ValueError, match="give a whole number, a slice, or a whole number for this cache of one"
    ):
        cache.decompose_resid(pos=[0])


def test_a_stack_of_other_positions_is_refused(made):
    _, cache, _, _ = made
    sliced = cache["resid_post", 2][:, -1][None]
    with pytest.raises(
        ValueError, match=r"parts of shape \(1, 7, 32\) don't lie at .* \(7, 7\): .* with pos="
    ):
        cache.logit_attrs(sliced, ANSWER, FOIL)
    with pytest.raises(ValueError, match=r"don't lie at this cache's prompts and positions, \(7, 4\)"):
        cache.apply_ln_to_stack(cache.decompose_resid(), pos=slice(2, -1))
    assert cache.logit_attrs(sliced, ANSWER, FOIL, pos=-1).shape == (1, BATCH)


@pytest.mark.parametrize("pos", [None, -1])
def test_tokens_of_other_prompts_are_refused(made, pos):
    _, cache, _, _ = made
    parts = cache.decompose_resid(pos=pos)
    with pytest.raises(
        ValueError, match=r"^tokens of shape \(6,\) for a stack at \(7.*: give a number, 7 numbers"
    ):
        cache.logit_attrs(parts, ANSWER[:6], FOIL, pos=pos)
    with pytest.raises(ValueError, match=r"^incorrect_tokens of shape \(8,\)"):
        cache.logit_attrs(parts, ANSWER, torch.arange(8), pos=pos)


@pytest.mark.parametrize("pos", [7, -8, torch.tensor([0, 1, 2, 3, 4, 5, 7])])
def test_a_position_that_is_not_there_is_refused(made, pos):
    model, cache, _, _ = made
    with pytest.raises(ValueError, match="there are positions 0 to 6, or -1 to -7 from the end"):
        cache.stack_head_results(pos=pos)
    with pytest.raises(ValueError, match="there are positions 0 to 6"), attach(model) as hooked:
        hooked.run_with_cache(random_ids(BATCH, LENGTH), pos=pos)


@pytest.mark.parametrize("pos", [[1, 2], torch.tensor([0.0] * 7), torch.zeros(7, 2, dtype=torch.long)])
def test_positions_that_are_none_are_refused(made, pos):
    with pytest.raises(
        ValueError, match="give a whole number, a slice, or a whole number for each of the 7 prompts"
    ):
        made[1].accumulated_resid(pos=pos)


def test_a_position_of_a_single_one_is_refused(made):
    model, _, _, _ = made
    with attach(model) as hooked:
        _, cache = hooked.run_with_cache(random_ids(BATCH, LENGTH), pos=-1)
        with pytest.raises(ValueError, match="pos=-1: this cache holds one position of each prompt already"):
            cache.logit_lens(pos=-1)
        with pytest.raises(ValueError, match="pos=-1 with detach=False"):
            hooked.run_with_cache(random_ids(BATCH, LENGTH), pos=-1, detach=False)


@pytest.mark.parametrize("names", [None, lambda name: not name.endswith("result")], ids=["kept", "from z"])
def test_each_layer_writes_its_heads_once_and_only_where_asked(made, names, monkeypatch):
    model, _, _, _ = made
    with torch.no_grad(), attach(model) as hooked:
        _, cache = hooked.run_with_cache(random_ids(BATCH, LENGTH), names=names)
        shapes = []
        write = hooked.architecture.write_heads
        monkeypatch.setattr(
            type(hooked.architecture),
            "write_heads",
            lambda self, layer, z: shapes.append((layer, z.shape)) or write(layer, z),
        )
        cache.stack_head_results(pos=-1)
    expected = [] if names is None else [(layer, (BATCH, HEADS, 8)) for layer in range(3)]
    assert shapes == expected


def test_stacks_of_nothing_are_empty(made):
    _, cache, _, _ = made
    assert cache.stack_head_results(0).shape == (0, BATCH, LENGTH, 32)
    assert cache.decompose_resid(0, incl_embeds=False, pos=-1).shape == (0, BATCH, 32)
    assert cache.stack_activation("z", 0, pos=-1).shape == (0, BATCH, HEADS, 8)


def test_gradients_go_through_stacks():
    with attach(tiny_gpt2()) as hooked:
        _, cache = hooked.run_with_cache(random_ids(2, 5), detach=False)
        stack = cache.stack_head_results(pos=-1, incl_remainder=True)
        [gradient] = torch.autograd.grad(stack.sum(0).square().sum(), cache["resid_post", 2])
    tensors_close(gradient[:, -1], 2 * cache["resid_post", 2][:, -1].detach())
    assert isinstance(cache, ActivationCache)
    assert not gradient[:, :-1].any()
