import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import GPT2LMHeadModel

import headwatch as hw
from headwatch.model.fast_linear import is_plain
from headwatch.scores.gradient_importance import (
    GradientHeadImportance,
    head_importance,
    normalized_by_layer,
    pause_listening,
)
from tests.models import random_ids, random_pairs, tiny_gpt2


def labels_of(ids: Tensor, mask: Tensor) -> Tensor:
    return ids.masked_fill(mask == 0, -100)


def right_padded() -> tuple[Tensor, Tensor]:
    mask = (torch.arange(9) < torch.tensor([9, 5, 7, 2])[:, None]).long()
    return random_ids(4, 9), mask


def reference(model: GPT2LMHeadModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Token by token and head by head, from plain hooks that keep z and its gradient."""
    kept: dict[int, Tensor] = {}
    handles = []
    for layer, block in enumerate(model.transformer.h):

        def keep(_: object, args: tuple[Tensor], layer: int = layer) -> None:
            args[0].retain_grad()
            kept[layer] = args[0]

        handles.append(block.attn.c_proj.register_forward_pre_hook(keep))
    loss = model(ids, attention_mask=mask, labels=labels_of(ids, mask)).loss
    loss.backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    n_heads, d_head = model.config.n_head, model.config.n_embd // model.config.n_head
    importance = torch.zeros(len(kept), n_heads, dtype=torch.float64)
    for layer, z in kept.items():
        for head in range(n_heads):
            part = slice(head * d_head, (head + 1) * d_head)
            for prompt, position in mask.nonzero().tolist():
                value, grad = z.detach()[prompt, position, part], z.grad[prompt, position, part]
                importance[layer, head] += abs(float(value.double() @ grad.double()))
    return (importance / mask.sum()).float()


def listen(model: torch.nn.Module, ids: Tensor, mask: Tensor) -> GradientHeadImportance:
    importance = GradientHeadImportance(3, 4)
    with importance.attached(model):
        model(input_ids=ids, attention_mask=mask, labels=labels_of(ids, mask)).loss.backward()
    return importance


def test_contributions_of_opposite_sign_do_not_cancel() -> None:
    z = torch.tensor([1.0, 1.0, 5.0]).view(1, 3, 1, 1)
    gradient = torch.tensor([2.0, -3.0, 100.0]).view(1, 3, 1, 1)
    real = torch.tensor([[True, True, False]])
    assert head_importance(z, gradient, real).tolist() == [5.0]


def test_the_dot_product_comes_before_the_absolute_value() -> None:
    z, gradient = torch.tensor([1.0, 1.0]).view(1, 1, 1, 2), torch.tensor([2.0, -2.0]).view(1, 1, 1, 2)
    assert head_importance(z, gradient, torch.ones(1, 1, dtype=torch.bool)).tolist() == [0.0]


def test_normalized_by_layer() -> None:
    normalized = normalized_by_layer(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(normalized, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_importance_equals_a_token_by_token_loop() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    expected = reference(model, ids, mask)
    result = listen(model, ids, mask).compute()
    torch.testing.assert_close(result["raw"], expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(result["normalized"], expected / expected.norm(dim=1, keepdim=True))
    assert result["tokens"].tolist() == [23, 23, 23]


def test_batches_are_pooled_by_tokens() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    importance = GradientHeadImportance(3, 4)
    expected = torch.zeros(3, 4)
    with importance.attached(model):
        for row in range(4):
            one = (ids[row : row + 1], mask[row : row + 1])
            model(one[0], attention_mask=one[1], labels=labels_of(*one)).loss.backward()
    model.zero_grad()
    for row in range(4):
        one = (ids[row : row + 1], mask[row : row + 1])
        expected += reference(model, *one) * one[1].sum()
    torch.testing.assert_close(importance.compute()["raw"], expected / 23, rtol=1e-4, atol=1e-7)


def checkpoint_activations(model: GPT2LMHeadModel, settings: dict[str, bool] | None = None) -> None:
    """Under the name that the installed transformers has for it."""
    new_name = getattr(model, "activation_checkpointing_enable", None)
    (new_name or model.gradient_checkpointing_enable)(settings)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same(reentrant: bool) -> None:
    model, (ids, mask) = tiny_gpt2(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), right_padded()
    expected = listen(model, ids, mask).compute()
    model.train()
    checkpoint_activations(model, {"use_reentrant": reentrant})
    result = listen(model, ids, mask).compute()
    torch.testing.assert_close(result["raw"], expected["raw"])
    assert torch.equal(result["tokens"], expected["tokens"])


def test_two_forwards_before_one_backward() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    importance = GradientHeadImportance(3, 4)
    with importance.attached(model):
        first = model(ids[:2], attention_mask=mask[:2], labels=labels_of(ids[:2], mask[:2])).loss
        second = model(ids[2:], attention_mask=mask[2:], labels=labels_of(ids[2:], mask[2:])).loss
        (first + second).backward()
    model.zero_grad()
    expected = (reference(model, ids[:2], mask[:2]) * 14 + reference(model, ids[2:], mask[2:]) * 9) / 23
    torch.testing.assert_close(importance.compute()["raw"], expected, rtol=1e-4, atol=1e-7)


def train(
    listening: bool, steps: int = 4, autocast: bool = False, checkpointing: bool = False
) -> list[Tensor]:
    """Losses, gradients of the last step, parameters and random state after a few steps with dropout."""
    torch.manual_seed(0)
    model = tiny_gpt2().train()
    if checkpointing:
        checkpoint_activations(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    importance, losses = GradientHeadImportance(3, 4), []
    handles = importance.attach(model) if listening else []
    for step in range(steps):
        ids = random_ids(3, 8, seed=step)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert len(handles) == (4 if listening else 0)
    assert (importance.tokens == (steps * 24 if listening else 0)).all()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [*losses, *gradients, *model.parameters(), torch.random.get_rng_state()]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_is_bit_identical(autocast: bool, checkpointing: bool) -> None:
    settings = {"autocast": autocast, "checkpointing": checkpointing}
    for without, with_it in zip(train(False, **settings), train(True, **settings), strict=True):
        assert torch.equal(without, with_it)


def test_forwards_that_are_no_training_add_nothing() -> None:
    model, (ids, _) = tiny_gpt2(), right_padded()
    importance = GradientHeadImportance(3, 4)
    with importance.attached(model):
        with torch.no_grad():
            model(ids)
        with torch.inference_mode():
            model(ids)
        with pause_listening():
            model(ids, labels=ids).loss.backward()
    assert importance.tokens.sum() == 0
    model(ids, labels=ids).loss.backward()  # the hooks are gone
    assert importance.tokens.sum() == 0
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_fine_tuned_in_evaluation_mode_is_seen() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    assert not model.training
    assert listen(model, ids, mask).tokens.tolist() == [23, 23, 23]


def test_no_graph_is_kept_alive() -> None:
    model, (ids, _) = tiny_gpt2(), right_padded()
    importance = GradientHeadImportance(3, 4)
    seen: list[weakref.ref[Tensor]] = []
    model.transformer.h[1].attn.c_proj.register_forward_pre_hook(
        lambda _, args: seen.append(weakref.ref(args[0]))
    )
    with importance.attached(model):
        loss = model(ids, labels=ids).loss
        loss.backward()
        del loss
        gc.collect()
        assert [reference() for reference in seen] == [None]
    assert not importance.total.requires_grad


def test_layers_below_the_trained_ones_are_nan() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.transformer.h[1].attn.c_attn.weight.requires_grad_(True)
    result = listen(model, ids, mask).compute()
    assert result["raw"].isnan().all(dim=1).tolist() == [True, False, False]
    assert result["tokens"].tolist() == [0, 23, 23]


# peft reads an attribute that transformers has renamed.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_lora_models_are_found_and_seen() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    expected = listen(copy.deepcopy(model), ids, mask).compute()["raw"]
    adapted = get_peft_model(
        model,
        LoraConfig(target_modules=["c_attn", "attn.c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM"),
    )
    torch.testing.assert_close(
        listen(adapted, ids, mask).compute()["raw"], expected
    )  # LoRA starts as a no-op


def test_loss_scale_is_taken_out() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    expected = listen(model, ids, mask).compute()["raw"]
    importance = GradientHeadImportance(3, 4)
    importance.loss_scale = 1024.0
    with importance.attached(model):
        (1024.0 * model(ids, attention_mask=mask, labels=labels_of(ids, mask)).loss).backward()
    torch.testing.assert_close(importance.compute()["raw"], expected)


def test_a_backward_that_overflowed_is_left_out() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    importance = listen(model, ids, mask)
    expected = importance.compute()["raw"]
    with importance.attached(model):
        (model(ids, labels=ids).loss * torch.inf).backward()
    torch.testing.assert_close(importance.compute()["raw"], expected)
    assert importance.tokens.tolist() == [23, 23, 23]


def test_reset_within_inference_mode_does_not_break_the_next_backward() -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    importance = listen(model, ids, mask)
    first = importance.compute()["raw"]
    with torch.inference_mode():
        importance.reset()
    with importance.attached(model):
        model(ids, attention_mask=mask, labels=labels_of(ids, mask)).loss.backward()
    torch.testing.assert_close(importance.compute()["raw"], first)


def written_and_read(model: torch.nn.Module) -> torch.nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def twice(
    copied: Callable[[torch.nn.Module], torch.nn.Module],
) -> Callable[[torch.nn.Module], torch.nn.Module]:
    return lambda model: copied(copied(model))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, written_and_read, twice(copy.deepcopy), twice(written_and_read)]
)
def test_copies_and_files_do_not_listen(copied: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    model, (ids, mask) = tiny_gpt2(), right_padded()
    importance = GradientHeadImportance(3, 4)
    with importance.attached(model):
        loss = model(ids, attention_mask=mask, labels=labels_of(ids, mask)).loss
        loss.backward()
        expected = importance.total.clone()
        other = copied(model)
        others = other(ids, attention_mask=mask, labels=labels_of(ids, mask)).loss
        others.backward()
    assert torch.equal(others, loss)
    assert torch.equal(importance.total, expected)
    assert importance.tokens.tolist() == [23, 23, 23]


def test_a_file_of_a_model_can_be_read_without_headwatch() -> None:
    model = tiny_gpt2()
    with GradientHeadImportance(3, 4).attached(model):
        assert b"headwatch" not in pickle.dumps(model)


def test_listening_leaves_the_quick_kernels_in_place_and_other_hooks_do_not() -> None:
    model = tiny_gpt2()
    projection = model.transformer.h[0].attn.c_proj
    with GradientHeadImportance(3, 4).attached(model):
        assert is_plain(projection)
        assert is_plain(copy.deepcopy(model).transformer.h[0].attn.c_proj)
        with projection.register_forward_pre_hook(lambda *_: None):
            assert not is_plain(projection)
    with projection.register_forward_hook(lambda *_: None):
        assert not is_plain(projection)


def test_ablation_is_the_same_beside_a_listener() -> None:
    model = tiny_gpt2().bfloat16()
    pairs = random_pairs()
    expected = hw.ablate_heads(model, pairs, kind="mean").mean
    with GradientHeadImportance(3, 4).attached(model):
        assert torch.equal(hw.ablate_heads(model, pairs, kind="mean").mean, expected)


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="made for 2 layers of 4 heads, but the model has 3 layers of 4"):
        GradientHeadImportance(2, 4).attach(tiny_gpt2())
