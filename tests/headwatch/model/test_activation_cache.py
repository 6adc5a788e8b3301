"""Expected values come from `tests.reference.functional`, a forward written out from the weights."""

from inspect import unwrap

import pytest
import torch

from headwatch.model.activation_cache import ActivationCache
from headwatch.model.hooked_model import attach
from tests.compare import tensors_close
from tests.models import random_ids, tiny_gpt2
from tests.reference.functional import forward

LAYERS, HEADS, BATCH, LENGTH = 3, 4, 2, 7


def run(batch: int = BATCH, names=None, **settings):
    """A model, its cache, and what the reference says: logits and activations."""
    model = tiny_gpt2(seed=2, **settings)
    ids = random_ids(batch, LENGTH)
    with torch.no_grad(), attach(model) as hooked:
        _, cache = hooked.run_with_cache(ids, names=names)
        logits, expected = forward(model, ids)
    return model, cache, logits, expected


@pytest.fixture(scope="module")
def made():
    return run()


def without_bias(model, logits: torch.Tensor, unembedding: torch.Tensor) -> torch.Tensor:
    """Logits less what the final norm's bias adds to each token's, whatever the stream is."""
    return logits - unembedding @ model.state_dict()["transformer.ln_f.bias"]


def scaled(stack: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (stack - stack.mean(-1, keepdim=True)) / scale


@pytest.mark.parametrize("key", ["blocks.1.attn.hook_k", "k1", "k1a", ("k", 1), ("k", 1, "a"), ("key", 1)])
def test_an_activation_is_found_by_full_name_shorthand_and_tuple(made, key):
    _, cache, _, expected = made
    tensors_close(cache[key], expected["blocks.1.attn.hook_k"])
    assert key in cache


def test_a_cache_is_a_mapping_of_full_names(made):
    _, cache, _, expected = made
    assert set(cache) == set(expected)
    assert len(cache) == len(expected)
    assert "k3" not in cache
    assert "hook_embed" in repr(cache)
    assert cache.n_layers == LAYERS


def test_an_activation_that_was_not_kept_is_a_key_error_that_says_how_to_keep_it():
    _, cache, _, _ = run(names=["z1", "z2"])
    with pytest.raises(
        KeyError, match=r"blocks\.0\.attn\.hook_z is not in this cache of 2 activations.*names="
    ):
        cache["z0"]
    with pytest.raises(KeyError, match=r"^unknown activation 'zebra'; known: "):
        cache["zebra"]


@pytest.mark.parametrize("key", ["zebra", "blocks.-1.attn.hook_q", ("scale", 1)])
def test_what_is_no_name_is_not_in_a_cache(made, key):
    _, cache, _, _ = made
    assert key not in cache
    assert cache.get(key) is None
    assert cache.get(key, 0) == 0


def test_a_layer_that_the_model_lacks_is_a_key_error_that_says_which_it_has():
    for cache in (run()[1], run(names=["z1"])[1]):
        with pytest.raises(KeyError, match=r"blocks\.9\.attn\.hook_pattern: the model has layers 0 to 2"):
            cache["pattern", 9]
        assert ("pattern", 9) not in cache


@pytest.mark.parametrize("layer", [None, -1, 2])
def test_stack_activation(made, layer):
    _, cache, _, expected = made
    last = LAYERS if layer in (None, -1) else layer
    names = [f"blocks.{i}.ln2.hook_scale" for i in range(last)]
    tensors_close(
        cache.stack_activation("scale", layer, "ln2"), torch.stack([expected[name] for name in names])
    )


@pytest.mark.parametrize("incl_mid", [False, True])
@pytest.mark.parametrize("layer", [None, 2, 0])
def test_accumulated_resid_is_the_stream_on_its_way(made, layer, incl_mid):
    _, cache, _, expected = made
    last = LAYERS if layer is None else layer
    keys = [(i, kind) for i in range(last) for kind in (["pre", "mid"] if incl_mid else ["pre"])]
    wanted = [expected[f"blocks.{i}.hook_resid_{kind}"] for i, kind in keys]
    end = "blocks.2.hook_resid_post" if layer is None else f"blocks.{layer}.hook_resid_pre"
    stack, labels = cache.accumulated_resid(layer, incl_mid, return_labels=True)
    tensors_close(stack, torch.stack([*wanted, expected[end]]))
    assert labels == [f"{i}_{kind}" for i, kind in keys] + ["final_post" if layer is None else f"{layer}_pre"]


@pytest.mark.parametrize("layer", [None, 1])
def test_each_point_of_the_stream_can_be_scaled_by_its_own_norm(made, layer):
    model, cache, _, expected = made
    stack = cache.accumulated_resid(layer, incl_mid=True, apply_ln=True)
    for point, name in ((0, "blocks.0.hook_resid_pre"), (1, "blocks.0.hook_resid_mid")):
        normalized = torch.nn.functional.layer_norm(
            expected[name], (32,), eps=model.config.layer_norm_epsilon
        )
        tensors_close(stack[point], normalized)
    norm = "ln_final" if layer is None else f"blocks.{layer}.ln1"
    tensors_close(stack[-1], expected[f"{norm}.hook_normalized"])


def test_all_points_of_the_stream_can_be_scaled_by_the_final_norm(made):
    _, cache, _, expected = made
    stack = cache.apply_ln_to_stack(cache.accumulated_resid())
    tensors_close(stack[0], scaled(expected["blocks.0.hook_resid_pre"], expected["ln_final.hook_scale"]))


@pytest.mark.parametrize("layer", [None, 2, 1])
def test_decompose_resid_takes_the_stream_apart(made, layer):
    _, cache, _, expected = made
    last = LAYERS if layer is None else layer
    stack, labels = cache.decompose_resid(layer, return_labels=True)
    outs = [f"{i}_{kind}_out" for i in range(last) for kind in ("attn", "mlp")]
    assert labels == ["embed", "pos_embed", *outs]
    tensors_close(stack[0], expected["hook_embed"])
    tensors_close(stack[-1], expected[f"blocks.{last - 1}.hook_mlp_out"])
    end = "blocks.2.hook_resid_post" if layer is None else f"blocks.{layer}.hook_resid_pre"
    tensors_close(stack.sum(0), expected[end])


@pytest.mark.parametrize("mode", ["attn", "mlp"])
def test_decompose_resid_of_one_kind(made, mode):
    _, cache, _, expected = made
    stack = cache.decompose_resid(mode=mode, incl_embeds=False)
    tensors_close(stack, torch.stack([expected[f"blocks.{i}.hook_{mode}_out"] for i in range(LAYERS)]))


@pytest.mark.parametrize("names", [None, lambda name: not name.endswith("result")], ids=["kept", "from z"])
@pytest.mark.parametrize("layer", [None, 1])
def test_head_results_and_their_remainder_sum_to_the_stream(layer, names):
    _, cache, _, expected = run(names=names)
    last = LAYERS if layer is None else layer
    stack, labels = cache.stack_head_results(layer, incl_remainder=True, return_labels=True)
    assert labels == [f"L{i}H{head}" for i in range(last) for head in range(HEADS)] + ["remainder"]
    for i in range(last):
        results = stack[i * HEADS : (i + 1) * HEADS]
        tensors_close(results, expected[f"blocks.{i}.attn.hook_result"].movedim(2, 0))
    end = "blocks.2.hook_resid_post" if layer is None else f"blocks.{layer}.hook_resid_pre"
    tensors_close(stack.sum(0), expected[end])
    assert len(cache.stack_head_results(layer)) == last * HEADS


@pytest.mark.parametrize("layer", [None, 1])
def test_parts_are_scaled_by_the_norm_that_reads_the_stream_there(made, layer):
    _, cache, _, expected = made
    norm = "ln_final" if layer is None else f"blocks.{layer}.ln1"
    tensors_close(cache.decompose_resid(layer, apply_ln=True).sum(0), expected[f"{norm}.hook_normalized"])
    heads = cache.stack_head_results(layer, apply_ln=True)
    result = expected["blocks.0.attn.hook_result"][:, :, 1]
    tensors_close(heads[1], scaled(result, expected[f"{norm}.hook_scale"]))


def test_at_layer_0_only_the_remainder_stands(made):
    _, cache, _, expected = made
    stack, labels = cache.stack_head_results(0, incl_remainder=True, return_labels=True)
    assert labels == ["remainder"]
    tensors_close(stack[0], expected["blocks.0.hook_resid_pre"])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", ["number", "batch", "batch pos"])
def test_logit_attributions_sum_to_the_logits_less_the_final_biass_constant(shape, tied):
    model, cache, logits, _ = run(tie_word_embeddings=tied)
    unembedding = model.state_dict()["lm_head.weight"]
    tokens = {"number": 17, "batch": torch.tensor([3, 41]), "batch pos": random_ids(BATCH, LENGTH, seed=9)}[
        shape
    ]
    index = torch.as_tensor(tokens)
    index = index[:, None] if shape == "batch" else index
    expected = without_bias(model, logits, unembedding)
    expected = expected.gather(-1, index.expand(BATCH, LENGTH)[..., None])[..., 0]
    tensors_close(cache.logit_attrs(cache.decompose_resid(), tokens).sum(0), expected)
    tensors_close(cache.logit_attrs(cache.stack_head_results(incl_remainder=True), tokens).sum(0), expected)


def test_logit_attributions_of_a_difference(made):
    model, cache, logits, _ = made
    right, wrong = torch.tensor([3, 41]), torch.tensor([8, 5])
    expected = without_bias(model, logits, model.state_dict()["lm_head.weight"])
    rows = torch.arange(BATCH)
    difference = expected[rows, :, right] - expected[rows, :, wrong]
    tensors_close(cache.logit_attrs(cache.decompose_resid(), right, wrong).sum(0), difference)
    numbers = cache.logit_attrs(cache.decompose_resid(), 3, 8).sum(0)
    tensors_close(numbers, expected[..., 3] - expected[..., 8])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft calls it
@pytest.mark.filterwarnings("ignore:Model.*tie_word_embeddings:UserWarning")
def test_logit_attributions_see_a_lora_adapter_on_the_unembedding():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["lm_head"], r=2)
    wrapped = peft.get_peft_model(tiny_gpt2(tie_word_embeddings=False), config).eval()
    ids = random_ids(BATCH, LENGTH)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
        with attach(wrapped) as hooked:
            _, cache = hooked.run_with_cache(ids)
        attributions = cache.logit_attrs(cache.decompose_resid(), 17).sum(0)
        lens = cache.logit_lens()[-1]
        merged = wrapped.merge_and_unload()
        logits, _ = forward(merged, ids)
    tensors_close(attributions, without_bias(merged, logits, merged.state_dict()["lm_head.weight"])[..., 17])
    tensors_close(lens, logits)


@pytest.mark.parametrize("incl_mid", [False, True])
def test_the_logit_lens_ends_in_the_logits(made, incl_mid):
    model, cache, logits, expected = made
    with torch.no_grad():
        lens = cache.logit_lens(incl_mid)
    assert lens.shape == (2 * LAYERS + 1 if incl_mid else LAYERS + 1, BATCH, LENGTH, 61)
    tensors_close(lens[-1], logits)
    weights, stream = model.state_dict(), expected["blocks.0.hook_resid_pre"]
    shape, gain, bias = (32,), weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"]
    normalized = torch.nn.functional.layer_norm(stream, shape, gain, bias, model.config.layer_norm_epsilon)
    tensors_close(lens[0], normalized @ weights["lm_head.weight"].T)


def test_a_single_prompt_without_its_batch_axis_says_the_same():
    _, cache, _, _ = run(batch=1)
    single = cache.remove_batch_dim()
    assert cache.has_batch_dim
    assert not single.has_batch_dim
    assert single["pattern", 1].shape == (HEADS, LENGTH, LENGTH)
    tensors_close(single.decompose_resid(), cache.decompose_resid()[:, 0])
    tensors_close(
        single.stack_head_results(incl_remainder=True), cache.stack_head_results(incl_remainder=True)[:, 0]
    )
    by_position = torch.arange(LENGTH)
    batched = cache.logit_attrs(cache.decompose_resid(), by_position[None])
    tensors_close(single.logit_attrs(single.decompose_resid(), by_position), batched[:, 0])


def test_head_results_without_a_batch_axis_can_come_from_z():
    _, cache, _, expected = run(batch=1, names=lambda name: not name.endswith("result"))
    stack = cache.remove_batch_dim().stack_head_results()
    tensors_close(stack[5], expected["blocks.1.attn.hook_result"][0, :, 1])


def test_remove_batch_dim_refuses_several_prompts_and_a_second_time(made):
    with pytest.raises(ValueError, match=r"needs a batch of 1, this cache has a batch of \[2\]"):
        made[1].remove_batch_dim()
    single = run(batch=1)[1].remove_batch_dim()
    with pytest.raises(ValueError, match="needs a batch of 1, this cache has no batch axis"):
        single.remove_batch_dim()


def test_to_moves_every_tensor_and_leaves_the_cache_as_it_was():
    _, cache, _, _ = run(batch=1, names=["z1", "hook_embed"])
    moved = cache.remove_batch_dim().to("meta")
    assert isinstance(moved, ActivationCache)
    assert {value.device.type for value in moved.values()} == {"meta"}
    assert not moved.has_batch_dim
    assert {value.device.type for value in cache.values()} == {"cpu"}


@pytest.mark.parametrize("layer", [4, -2])
@pytest.mark.parametrize("method", ["accumulated_resid", "decompose_resid", "stack_head_results"])
def test_a_layer_that_the_model_lacks_is_an_error(made, method, layer):
    with pytest.raises(ValueError, match=f"layer={layer}: the model has layers 0 to 2"):
        getattr(made[1], method)(layer)


def test_an_unknown_mode_is_an_error(made):
    with pytest.raises(ValueError, match="mode='heads': use 'all', 'attn' or 'mlp'"):
        unwrap(ActivationCache.decompose_resid)(
            made[1], mode="heads"
        )  # past the type check that tests run under
