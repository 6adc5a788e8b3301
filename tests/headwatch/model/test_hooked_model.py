import pytest
import torch
from torch import nn
from transformers import GPT2LMHeadModel

from headwatch.model.activation_names import all_names
from headwatch.model.hooked_model import attach
from tests.compare import tensors_close
from tests.models import random_ids, tiny_gpt2
from tests.reference.functional import forward

CONFIGS = {
    "plain": {},
    "inverse layer scale": {"scale_attn_by_inverse_layer_idx": True},
    "no scale": {"scale_attn_weights": False},
    "n_inner": {"n_inner": 48, "activation_function": "relu"},
    "untied": {"tie_word_embeddings": False},
    "upcast": {"reorder_and_upcast_attn": True},
    "one head": {"n_head": 1, "n_layer": 2},
}
IMPLEMENTATIONS = ["sdpa", "eager"]


def hooks_on(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_every_activation_equals_an_independent_forward(settings, implementation):
    model = tiny_gpt2(seed=3, attn_implementation=implementation, **settings)
    ids = random_ids(3, 11)
    with torch.no_grad(), attach(model) as hooked:
        logits, cache = hooked.run_with_cache(ids)
        expected_logits, expected = forward(model, ids)
    assert list(cache) == [n for n in all_names(model.config.n_layer) if "hook_mid" not in n]
    assert set(cache) == set(expected)
    tensors_close(logits, expected_logits)
    for name in cache:
        tensors_close(cache[name], expected[name])
    assert model.config._attn_implementation == implementation
    assert hooks_on(model) == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_leaves_real_tokens_as_they_are_alone(side):
    model = tiny_gpt2()
    ids, mask = random_ids(2, 9), torch.ones(2, 9, dtype=torch.long)
    real = slice(4, None) if side == "left" else slice(None, 5)
    mask[1] = 0
    mask[1, real] = 1
    with torch.no_grad(), attach(model) as hooked:
        logits, cache = hooked.run_with_cache(ids, attention_mask=mask)
        alone, alone_cache = hooked.run_with_cache(ids[1:, real])
    tensors_close(logits[1, real], alone[0])
    tensors_close(cache["z", 2][1, real], alone_cache["z", 2][0])
    tensors_close(cache["pattern", 1][1][:, real, real], alone_cache["pattern", 1][0])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", [n for n in all_names(3) if "blocks.1" in n or "blocks" not in n])
def test_every_activation_can_be_replaced(name, in_place, implementation):
    if "hook_mid" in name:
        return
    model = tiny_gpt2(seed=5, attn_implementation=implementation)
    ids = random_ids(2, 7)

    def halve(value, hook):
        assert hook.name == name
        assert hook.layer == (1 if "blocks" in name else None)
        if in_place:
            value.mul_(0.5)
            return None
        return value * 0.5

    with torch.no_grad(), attach(model) as hooked:
        logits = hooked.run_with_hooks(ids, fwd_hooks=[(name, halve)])
        expected, _ = forward(model, ids, edit=lambda n, value: value * 0.5 if n == name else value)
        plain, _ = forward(model, ids)
    tensors_close(logits, expected)
    assert (expected - plain).abs().max() > 1e-3


def test_reading_changes_no_bit_of_the_logits():
    model = tiny_gpt2(attn_implementation="sdpa")
    ids = random_ids(2, 7)
    seen = []
    with torch.no_grad(), attach(model) as hooked:
        plain = model(ids).logits
        cached, _ = hooked.run_with_cache(ids)
        read = hooked.run_with_hooks(
            ids, fwd_hooks=[(lambda n: True, lambda value, hook: seen.append(hook.name))]
        )
    assert torch.equal(cached, plain)
    assert torch.equal(read, plain)
    assert len(seen) == 2 + 3 * 18 + 2


def test_an_exception_in_a_hook_leaves_nothing_behind():
    model = tiny_gpt2()
    before = model.config._attn_implementation

    def fail(value, hook):
        raise KeyError("mine")

    with attach(model) as hooked, pytest.raises(KeyError, match="mine"):
        hooked.run_with_hooks(random_ids(1, 4), fwd_hooks=[("pattern1", fail)])
    assert hooks_on(model) == 0
    assert model.config._attn_implementation == before


def test_the_weights_are_the_users_own_and_not_a_copy():
    model = tiny_gpt2()
    with torch.no_grad(), attach(model) as hooked:
        assert hooked.model is model
        before = hooked.run_with_hooks(random_ids(1, 4), fwd_hooks=[("z1", lambda value, hook: None)])
        model.transformer.h[1].mlp.c_proj.bias.add_(1.0)
        after = hooked.run_with_hooks(random_ids(1, 4), fwd_hooks=[("z1", lambda value, hook: None)])
    assert not torch.allclose(before, after)


def test_gradients_flow_through_hooks_and_into_an_undetached_cache():
    model = tiny_gpt2()
    ids = random_ids(2, 6)
    with attach(model) as hooked:
        logits, cache = hooked.run_with_cache(ids, names=["z1", "pattern2"], detach=False)
        grads = torch.autograd.grad(logits.sum(), cache["z", 1])[0]
        _, detached = hooked.run_with_cache(ids, names="z1")
    reference = {}

    def leaf(name, value):
        if name == "blocks.1.attn.hook_z":
            reference["z"] = value.detach().requires_grad_()
            return reference["z"]
        return value

    expected_logits, _ = forward(model, ids, edit=leaf)
    tensors_close(grads, torch.autograd.grad(expected_logits.sum(), reference["z"])[0])
    assert not detached["z", 1].requires_grad


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("z1", ["blocks.1.attn.hook_z"]),
        (("k", 2), ["blocks.2.attn.hook_k"]),
        (("scale", 0, "ln2"), ["blocks.0.ln2.hook_scale"]),
        (["z0", ("mlp_out", 1)], ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_out"]),
        (lambda n: n.endswith("embed"), ["hook_embed", "hook_pos_embed"]),
    ],
)
def test_names_choose_what_is_kept(names, found):
    with attach(tiny_gpt2()) as hooked:
        _, cache = hooked.run_with_cache(random_ids(1, 4), names=names)
    assert list(cache) == found


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ([("zebra", print)], "unknown activation 'zebra'"),
        ([("z3", print)], "the model has layers 0 to 2"),
        ([("mid1", print)], "use 'pre' or 'post'"),
        ([(lambda n: False, print)], "chose none of the"),
        ([("z1", lambda value, hook: value[:, :, 0])], r"shape \(1, 4, 8\), expected \(1, 4, 4, 8\)"),
    ],
)
def test_a_wrong_hook_is_an_error_that_says_what_would_work(hooks, message):
    model = tiny_gpt2()
    with attach(model) as hooked, pytest.raises(ValueError, match=message):
        hooked.run_with_hooks(random_ids(1, 4), fwd_hooks=hooks)
    assert hooks_on(model) == 0


def test_a_hook_that_returns_no_tensor_is_an_error():
    with (
        attach(tiny_gpt2()) as hooked,
        pytest.raises(TypeError, match="returned float: return a tensor or None"),
    ):
        hooked.run_with_hooks(random_ids(1, 4), fwd_hooks=[("z1", lambda value, hook: 0.0)])


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.zeros(1, 41, dtype=torch.long), None, "41 positions, the model has 40"),
        (torch.tensor([[1, 61]]), None, "from 1 to 61, the vocabulary from 0 to 60"),
        (torch.zeros(2, 3), None, "integers of shape"),
        (
            torch.zeros(2, 3, dtype=torch.long),
            torch.ones(2, 4, dtype=torch.long),
            r"\(2, 4\), ids have \(2, 3\)",
        ),
    ],
)
def test_wrong_ids_are_an_error(ids, mask, message):
    with attach(tiny_gpt2()) as hooked, pytest.raises(ValueError, match=message):
        hooked.run_with_cache(ids, attention_mask=mask)


def test_a_name_that_never_fires_is_an_error():
    model = tiny_gpt2()
    attention = model.transformer.h[1].attn
    attention.forward = lambda hidden_states, **kwargs: (
        hidden_states,
        None,
    )  # a fused attention: c_proj never runs
    with attach(model) as hooked, pytest.raises(RuntimeError, match=r"blocks\.1\.attn\.hook_z never fired"):
        hooked.run_with_cache(random_ids(1, 4), names="z1")


def test_runs_end_with_the_block():
    with attach(tiny_gpt2()) as hooked:
        pass
    with pytest.raises(RuntimeError, match="call attach"):
        hooked.run_with_cache(random_ids(1, 4))


def test_a_compiled_model_fires_every_hook():
    model = tiny_gpt2()
    ids = random_ids(1, 5)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(ids)
        with attach(compiled) as hooked:
            logits = hooked.run_with_hooks(ids, fwd_hooks=[("z1", lambda value, hook: value * 0)])
        expected, _ = forward(model, ids, edit=lambda n, v: v * 0 if n == "blocks.1.attn.hook_z" else v)
    tensors_close(logits, expected)


def test_a_model_compiled_in_place_fires_every_hook():
    model = tiny_gpt2()
    ids = random_ids(1, 5)
    for block in model.transformer.h:
        block.compile(backend="eager")
    with torch.no_grad():
        model(ids)
        with attach(model) as hooked:
            logits = hooked.run_with_hooks(ids, fwd_hooks=[("z1", lambda value, hook: value * 0)])
        expected, _ = forward(model, ids, edit=lambda n, v: v * 0 if n == "blocks.1.attn.hook_z" else v)
    tensors_close(logits, expected)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft calls it
def test_lora_keeps_its_effect():
    peft = pytest.importorskip("peft")
    base = tiny_gpt2()
    wrapped = peft.get_peft_model(
        base, peft.LoraConfig(target_modules=["c_attn", "c_proj", "c_fc"], r=2, fan_in_fan_out=True)
    ).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
        ids = random_ids(2, 6)
        with attach(wrapped) as hooked:
            assert isinstance(hooked.model, GPT2LMHeadModel)
            logits, cache = hooked.run_with_cache(ids)
            ablated = hooked.run_with_hooks(ids, fwd_hooks=[("z1", lambda v, hook: v * 0)])
        merged = wrapped.merge_and_unload()
        expected_logits, expected = forward(merged, ids)
        expected_ablated, _ = forward(
            merged, ids, edit=lambda n, v: v * 0 if n == "blocks.1.attn.hook_z" else v
        )
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ablated, expected_ablated, rtol=1e-4, atol=1e-4)
    for name in cache:
        torch.testing.assert_close(cache[name], expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position", [0, 3, 6])
def test_the_logits_of_one_position_are_those_of_a_whole_run(position):
    model, ids = tiny_gpt2(), random_ids(2, 7)
    with attach(model) as hooked:
        whole, cache = hooked.run_with_cache(ids, names=["z1"])
        one, again = hooked.run_with_cache(ids, names=["z1"], logits_at=position)
    assert one.shape == (2, 1, 61)
    torch.testing.assert_close(one[:, 0], whole[:, position], rtol=0, atol=1e-5)
    assert torch.equal(again["z1"], cache["z1"])


def test_a_forward_of_ones_own_gives_the_logits_of_one_position_too():
    model, ids = tiny_gpt2(), random_ids(2, 7)
    plain = model.forward

    def doubled(input_ids, attention_mask=None, position_ids=None, use_cache=None):
        out = plain(input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=use_cache)
        out.logits = 2 * out.logits
        return out

    model.forward = doubled
    with attach(model) as hooked:
        whole, _ = hooked.run_with_cache(ids, names=[])
        one, _ = hooked.run_with_cache(ids, names=[], logits_at=4)
    torch.testing.assert_close(one[:, 0], whole[:, 4])


def test_one_position_is_all_that_is_unembedded():
    model, seen = tiny_gpt2(), []
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    with attach(model) as hooked:
        hooked.run_with_cache(random_ids(2, 7), names=["z1"], logits_at=6)
    assert seen == [1]
