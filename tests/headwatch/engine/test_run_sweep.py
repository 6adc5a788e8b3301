"""What the engine promises beyond equal results: bounds on memory, fallback, work saved, adapters kept."""

import warnings

import pytest
import torch
from torch import nn

import headwatch as hw
from headwatch.engine.base_run import BaseRun
from headwatch.engine.executor import default_max_tokens
from headwatch.engine.propagate import propagate
from tests.compare import effects_are
from tests.models import random_pairs, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.sweeps import sweep


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
    effects_are(effects, sweep(model, pairs, site, "denoise", "logit_diff", by_position=by_position))


@pytest.mark.usefixtures("unchecked")
def test_the_memory_bound_is_kept():
    model, pairs = tiny_gpt2(n_layer=4), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[3].ln_1)
    for bound in (2 * 6, 2 * 6 * 3):
        shapes.clear()
        hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff", max_tokens_per_batch=bound)
        sizes = [shape[:-1].numel() for shape in shapes]
        assert max(sizes) == bound


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("most_rows", [1, 2, 5])
def test_running_out_of_memory_shrinks_the_batches_with_one_warning(monkeypatch, most_rows):
    model, pairs = tiny_gpt2(), random_pairs(6, 5, lengths=[5, 5, 5, 4, 4, 3])
    expected = sweep(model, pairs, "z", "zero", "loss")
    sizes = []

    def cramped(base, sweep, reader, new, items, pinned):
        sizes.append(sum(len(item.index) for item in items))
        if sizes[-1] > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return propagate(base, sweep, reader, new, items, pinned)

    monkeypatch.setattr("headwatch.engine.by_engine.propagate", cramped)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        effects = hw.ablate_heads(model, pairs, kind="zero", max_tokens_per_batch=180, metric="loss")
    (warning,) = caught
    assert "out of memory at max_tokens_per_batch=180: going on with smaller batches" in str(warning.message)
    first = next(number for number, size in enumerate(sizes) if size <= most_rows)
    assert max(sizes[first:]) <= most_rows, "a later group ran out of memory again"
    effects_are(effects, expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("most_pairs", [1, 2, 3])
def test_too_little_memory_for_the_plain_runs_takes_fewer_pairs_at_once(monkeypatch, most_pairs):
    model, pairs = tiny_gpt2(), random_pairs(7, 6, shared=2)
    run, sizes, seen = BaseRun.of.__func__, [], []

    def cramped(cls, parts, ids, **options):
        sizes.append(len(ids))
        if len(ids) > most_pairs:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return run(cls, parts, ids, **options)

    monkeypatch.setattr(BaseRun, "of", classmethod(cramped))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        effects = hw.patch_activations(model, pairs, progress=lambda done, total: seen.append((done, total)))
    (warning,) = caught
    assert "out of memory with the base runs of 7 pairs: going on with fewer at once" in str(warning.message)
    assert max(sizes[-2:]) <= most_pairs
    assert seen == sorted(seen)
    assert seen[-1] == (7, 7)
    effects_are(effects, sweep(model, pairs, "z", "denoise", "logit_diff"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:out of memory:RuntimeWarning")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a broken kernel")]
)
def test_other_errors_and_too_little_memory_for_one_intervention_are_raised(monkeypatch, error):
    model, pairs = tiny_gpt2(), random_pairs(2, 5)

    def fail(*args, **options):
        raise error

    monkeypatch.setattr("headwatch.engine.by_engine.propagate", fail)
    with pytest.raises(RuntimeError, match=str(error)):
        hw.ablate_heads(model, pairs, kind="zero", metric="loss")


@pytest.mark.usefixtures("unchecked")
def test_what_both_prompts_share_is_not_computed_again():
    model, pairs = tiny_gpt2(n_layer=4), random_pairs(2, 9, shared=7)
    shapes = counted(model.transformer.h[2].ln_2)
    effects = hw.patch_activations(model, pairs)
    positions = [shape[-2] for shape in shapes if len(shape) == 4]
    assert positions
    assert set(positions) == {2}
    effects_are(effects, sweep(model, pairs, "z", "denoise", "logit_diff"))


@pytest.mark.usefixtures("unchecked")
def test_the_last_layer_goes_on_with_the_answer_position_alone():
    model, pairs = tiny_gpt2(), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[2].ln_2)
    hw.ablate_heads(model, pairs, kind="zero", metric="loss")
    assert {shape[-2] for shape in shapes if len(shape) == 4} == {1}


@pytest.mark.usefixtures("unchecked")
def test_module_calls_grow_with_layers_and_not_with_heads():
    model, pairs = tiny_gpt2(n_head=8), random_pairs(2, 6, shared=0)
    shapes = counted(model.transformer.h[1].ln_2)
    hw.ablate_heads(model, pairs, kind="zero", max_tokens_per_batch=10_000, metric="loss")
    assert len(shapes) == 2  # the plain run, and every intervention of both layers below


def test_a_forward_that_the_engine_cannot_follow_falls_back_to_hooks():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    block = model.transformer.h[1]
    plain = type(block).forward

    def doubled(hidden_states, *args, **kwargs):
        return 2 * plain(block, hidden_states, *args, **kwargs)

    block.forward = doubled
    with pytest.warns(RuntimeWarning, match="one forward per intervention.*something else than its modules"):
        effects = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")

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


class Doubled(nn.Module):
    """A wrapper that doubles what a module adds to the stream."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        output = self.inner(*args, **kwargs)
        return 2 * output if isinstance(output, torch.Tensor) else (2 * output[0], *output[1:])


def effects_where_doubled(model, pairs, doubled: str, unit: str, index: int) -> torch.Tensor:
    """The effect on the logit difference of zeroing one head or neuron, by a GPT-2 written out, `[pair]`."""

    def difference(zeroed):
        def edit(name, value):
            if name == zeroed:
                value = value.clone()
                value[:, :, index] = 0
            return 2 * value if name == doubled else value

        logits = forward(model, pairs.clean, edit=edit)[0][:, -1]
        rows = torch.arange(len(pairs))
        return logits[rows, pairs.answer] - logits[rows, pairs.foil]

    zeroed = "blocks.1.attn.hook_z" if unit == "head" else "blocks.1.mlp.hook_post"
    return difference(zeroed) - difference(None)


@pytest.mark.parametrize(
    ("part", "doubled", "warning"),
    [
        ("attn", "blocks.1.hook_attn_out", "can't run its modules"),
        ("mlp", "blocks.1.hook_mlp_out", "an MLP is wrapped or not GPT-2's"),
    ],
)
def test_modules_that_wrap_gpt2s_own_keep_their_effect(part, doubled, warning):
    model, pairs, plain = tiny_gpt2(), random_pairs(3, 5), tiny_gpt2()
    block = model.transformer.h[1]
    setattr(block, part, Doubled(getattr(block, part)))
    with pytest.warns(RuntimeWarning, match=f"one forward per intervention.*{warning}"):
        neurons = hw.ablate(model, pairs, "post", kind="zero", metric="logit_diff", neurons=[4, 9])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this model takes one forward", RuntimeWarning)
        heads = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    for index in (0, 3):
        expected = effects_where_doubled(plain, pairs, doubled, "head", index)
        torch.testing.assert_close(heads.per_pair[:, 1, index], expected, rtol=0, atol=1e-4)
    expected = effects_where_doubled(plain, pairs, doubled, "neuron", 9)
    torch.testing.assert_close(neurons.per_pair[:, 1, 1], expected, rtol=0, atol=1e-4)


def test_a_wrapped_mlp_costs_heads_nothing():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    model.transformer.h[1].mlp = Doubled(model.transformer.h[1].mlp)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")


class Own(nn.Module):
    """An attention of the user's own."""

    def forward(self, stream, **options):
        return stream.cumsum(1), None


@pytest.mark.filterwarnings("ignore:this model takes one forward per intervention:RuntimeWarning")
def test_an_attention_that_is_not_gpt2s_is_refused_in_one_sentence():
    model = tiny_gpt2()
    model.transformer.h[1].attn = Own()
    with pytest.raises(ValueError, match="Own stands where a GPT-2 has a GPT2Attention and holds 0 of them"):
        hw.ablate_heads(model, random_pairs(3, 5), kind="zero", metric="loss")


def test_a_model_with_cross_attention_that_nothing_feeds_is_served():
    model, pairs = tiny_gpt2(add_cross_attention=True), random_pairs(3, 5)
    effects_are(
        hw.ablate_heads(model, pairs, kind="zero", metric="loss"), sweep(model, pairs, "z", "zero", "loss")
    )


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
    effects_are(effects, sweep(merged, pairs, site, "denoise", "logit_diff", units=neurons), 1e-4)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
def test_gradient_checkpointing_and_training_mode_change_nothing():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    expected = sweep(model, pairs, "z", "mean", "loss")
    model.gradient_checkpointing_enable()
    model.train()
    effects_are(hw.ablate_heads(model, pairs, metric="loss"), expected)


def test_a_bf16_model_is_served():
    model, pairs = tiny_gpt2().bfloat16(), random_pairs(4, 5)
    effects = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    expected = sweep(tiny_gpt2(), pairs, "z", "zero", "logit_diff")
    assert torch.corrcoef(torch.stack([effects.per_pair.flatten().double(), expected.flatten()]))[0, 1] > 0.99


def test_the_default_bound_keeps_a_hidden_layer_within_18_megabytes():
    assert default_max_tokens(torch.device("cpu"), 3072) * 3072 * 4 <= 18 * 2**20


def test_the_exact_engine_says_what_it_cannot_read_and_auto_takes_hooks():
    model, pairs = tiny_gpt2(), random_pairs(2, 5)
    inside = hw.metrics.activation("z2", head=1, neuron=3)
    with pytest.raises(
        RuntimeError, match=r"^engine='exact' can't read blocks.2.attn.hook_z\[head 1, 3\] under"
    ):
        hw.patch_activations(model, pairs, metric=inside, engine="exact")
    auto = hw.patch_activations(model, pairs, metric=inside)
    assert auto.per_pair.equal(hw.patch_activations(model, pairs, metric=inside, engine="hooks").per_pair)
    assert auto.per_pair.any()
