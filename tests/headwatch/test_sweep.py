"""What the engine promises beyond equal results: bounds on memory, fallback, work saved, adapters kept."""

import warnings

import pytest
import torch
from torch import nn

import headwatch as hw
from headwatch.climb import Climb
from headwatch.sweep import default_max_tokens
from tests.models import random_pairs, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.sweeps import sweep


def same(effects: hw.Effects, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(effects.per_pair.double(), expected, rtol=0, atol=tolerance * scale)


def counted(module: nn.Module) -> list[torch.Size]:
    """The shapes of the inputs that a module gets from now on."""
    shapes: list[torch.Size] = []
    forward = module.forward

    def count(value: torch.Tensor) -> torch.Tensor:
        shapes.append(value.shape)
        return forward(value)

    module.forward = count
    return shapes


@pytest.mark.parametrize("max_tokens", [1, 7, 40, 100_000])
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("site", ["z", "k", "resid_pre"])
def test_any_memory_bound_gives_the_same_effects(site, by_position, max_tokens):
    model, pairs = tiny_gpt2(), random_pairs(3, 6, shared=2)
    effects = hw.patch_activations(
        model, pairs, site, by_position=by_position, max_tokens_per_batch=max_tokens
    )
    same(effects, sweep(model, pairs, site, "denoise", "logit_diff", by_position=by_position))


def test_the_memory_bound_is_kept():
    model, pairs = tiny_gpt2(n_layer=4), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[3].ln_1)
    hw.ablate_heads(model, pairs, "zero", "logit_diff")  # the self-check's own calls come first
    for bound in (2 * 6, 2 * 6 * 3):
        shapes.clear()
        hw.ablate_heads(model, pairs, "zero", "logit_diff", max_tokens_per_batch=bound)
        sizes = [shape[:-1].numel() for shape in shapes]
        assert max(sizes) == bound


@pytest.mark.parametrize("most_rows", [1, 2, 5])
def test_running_out_of_memory_shrinks_the_batches_with_one_warning(monkeypatch, most_rows):
    model, pairs = tiny_gpt2(), random_pairs(6, 5, lengths=[5, 5, 5, 4, 4, 3])
    expected = sweep(model, pairs, "z", "zero", "loss")
    hw.ablate_heads(model, pairs, "zero")  # the self-check needs its memory too
    climb, sizes = Climb.__call__, []

    def cramped(self, jobs):
        sizes.append(sum(len(job.index) for job in jobs))
        if sizes[-1] > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return climb(self, jobs)

    monkeypatch.setattr(Climb, "__call__", cramped)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        effects = hw.ablate_heads(model, pairs, "zero", max_tokens_per_batch=180)
    (warning,) = caught
    assert "out of memory at max_tokens_per_batch=180: going on with smaller batches" in str(warning.message)
    first = next(number for number, size in enumerate(sizes) if size <= most_rows)
    assert max(sizes[first:]) <= most_rows, "a later group ran out of memory again"
    same(effects, expected)


@pytest.mark.filterwarnings("ignore:out of memory:RuntimeWarning")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a broken kernel")]
)
def test_other_errors_and_too_little_memory_for_one_intervention_are_raised(monkeypatch, error):
    model, pairs = tiny_gpt2(), random_pairs(2, 5)
    hw.ablate_heads(model, pairs, "zero")

    def fail(self, jobs):
        raise error

    monkeypatch.setattr(Climb, "__call__", fail)
    with pytest.raises(RuntimeError, match=str(error)):
        hw.ablate_heads(model, pairs, "zero")


def test_what_both_prompts_share_is_not_computed_again():
    model, pairs = tiny_gpt2(n_layer=4), random_pairs(2, 9, shared=7)
    shapes = counted(model.transformer.h[2].ln_2)
    hw.patch_activations(model, pairs)
    shapes.clear()
    effects = hw.patch_activations(model, pairs)
    positions = [shape[-2] for shape in shapes if len(shape) == 4]
    assert positions
    assert set(positions) == {2}
    same(effects, sweep(model, pairs, "z", "denoise", "logit_diff"))


def test_the_last_layer_goes_on_with_the_answer_position_alone():
    model, pairs = tiny_gpt2(), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[2].ln_2)
    hw.ablate_heads(model, pairs, "zero")
    shapes.clear()
    hw.ablate_heads(model, pairs, "zero")
    assert {shape[-2] for shape in shapes if len(shape) == 4} == {1}


def test_module_calls_grow_with_layers_and_not_with_heads():
    model, pairs = tiny_gpt2(n_head=8), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[1].ln_2)
    hw.ablate_heads(model, pairs, "zero")
    shapes.clear()
    hw.ablate_heads(model, pairs, "zero", max_tokens_per_batch=10_000)
    assert len(shapes) == 2  # the plain run, and every intervention of both layers below


def test_a_forward_that_the_engine_cannot_follow_falls_back_to_hooks_with_one_warning():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    block = model.transformer.h[1]
    plain = type(block).forward

    def doubled(hidden_states, *args, **kwargs):
        return 2 * plain(block, hidden_states, *args, **kwargs)

    block.forward = doubled
    with pytest.warns(RuntimeWarning, match="one forward per intervention.*something else than its modules"):
        effects = hw.ablate_heads(model, pairs, "zero", "logit_diff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = hw.ablate_heads(model, pairs, "zero", "logit_diff")

    def edit(head):
        def function(name, value):
            if name == "blocks.0.attn.hook_z":
                value = value.clone()
                value[:, :, head] = 0
            return 2 * value if name == "blocks.1.hook_resid_post" else value

        return function

    rows = torch.arange(3)

    def difference(function):
        logits = forward(model, pairs.clean, edit=function)[0][:, -1]
        return logits[rows, pairs.answer] - logits[rows, pairs.foil]

    base = difference(lambda n, v: 2 * v if n == "blocks.1.hook_resid_post" else v)
    expected = torch.stack([difference(edit(head)) - base for head in range(4)], 1)
    torch.testing.assert_close(effects.per_pair[:, 0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(again.per_pair, effects.per_pair)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft calls it
@pytest.mark.parametrize("site", ["z", "v", "post"])
def test_lora_adapters_keep_their_effect(site):
    peft = pytest.importorskip("peft")
    targets = ["c_attn", "c_proj", "c_fc"]
    wrapped = peft.get_peft_model(
        tiny_gpt2(), peft.LoraConfig(target_modules=targets, r=2, fan_in_fan_out=True)
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    pairs, neurons = random_pairs(3, 5), [3, 9] if site == "post" else None
    effects = hw.patch_activations(wrapped, pairs, site, neurons=neurons)
    merged = wrapped.merge_and_unload()
    same(effects, sweep(merged, pairs, site, "denoise", "logit_diff", units=neurons), 1e-4)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
def test_gradient_checkpointing_and_training_mode_change_nothing():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    expected = sweep(model, pairs, "z", "mean", "loss")
    model.gradient_checkpointing_enable()
    model.train()
    same(hw.ablate_heads(model, pairs), expected)


def test_a_bf16_model_is_served():
    model, pairs = tiny_gpt2().bfloat16(), random_pairs(4, 5)
    effects = hw.ablate_heads(model, pairs, "zero", "logit_diff")
    expected = sweep(tiny_gpt2(), pairs, "z", "zero", "logit_diff")
    assert torch.corrcoef(torch.stack([effects.per_pair.flatten().double(), expected.flatten()]))[0, 1] > 0.99


def test_the_default_bound_keeps_a_hidden_layer_within_18_megabytes():
    assert default_max_tokens(torch.device("cpu"), 3072) * 3072 * 4 <= 18 * 2**20
