"""What all prompts begin with is computed once for all of them, and the effects stay those of whole forwards."""

import pytest
import torch

import headwatch as hw
from headwatch.interventions.batching import leading_tokens
from tests.compare import effects_are
from tests.models import random_pairs, tiny_gpt2
from tests.reference.sweeps import sweep

SITES = [
    "z",
    "q",
    "k",
    "v",
    "pattern",
    "result",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
]


def pairs_of_a_template(n: int, length: int, shared: int, seed: int = 0) -> hw.PromptPairs:
    pairs = random_pairs(n, length, seed=seed)
    clean = torch.cat([pairs.clean[:1, :shared].expand(n, -1), pairs.clean[:, shared:]], dim=1)
    return hw.PromptPairs.from_tokens(clean, pairs.corrupted, pairs.answer, pairs.foil)


@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("kind", ["zero", "position_mean"])
@pytest.mark.parametrize("site", SITES)
def test_every_site(site, kind, by_position):
    model, pairs = tiny_gpt2(seed=1), pairs_of_a_template(4, 7, 3)
    effects = hw.ablate(model, pairs, site, kind=kind, metric="loss", by_position=by_position)
    effects_are(effects, sweep(model, pairs, site, kind, "loss", by_position=by_position))


@pytest.mark.parametrize("shared", [1, 5, 6])
@pytest.mark.parametrize("metric", ["logit_diff", "kl", "sequence_loss"])
@pytest.mark.parametrize("max_tokens", [1, 40, None])
def test_any_number_of_leading_tokens(shared, metric, max_tokens):
    model, pairs = tiny_gpt2(seed=2), pairs_of_a_template(3, 7, shared)
    effects = hw.ablate_heads(model, pairs, kind="mean", metric=metric, max_tokens_per_batch=max_tokens)
    effects_are(effects, sweep(model, pairs, "z", "mean", metric))


def test_single_neurons_and_how_one_responds():
    model, pairs = tiny_gpt2(seed=3), pairs_of_a_template(3, 6, 4)
    effects = hw.ablate(model, pairs, "post", kind="zero", metric="loss", neurons=[0, 5, 77])
    effects_are(effects, sweep(model, pairs, "post", "zero", "loss", units=[0, 5, 77]))
    metric = hw.metrics.activation("resid_pre2", neuron=3)
    by_position = hw.ablate(model, pairs, "mlp_out", kind="zero", metric=metric, by_position=True)
    with hw.attach(model) as hooked:
        _, plain = hooked.run_with_cache(pairs.clean, names="resid_pre2")
        for layer, position in [(0, 1), (0, 5), (1, 2), (1, 5), (2, 5)]:

            def silence(value, hook, position=position):
                value = value.clone()
                value[:, position] = 0
                return value

            _, cache = hooked.run_with_cache(
                pairs.clean, names="resid_pre2", fwd_hooks=[(f"blocks.{layer}.hook_mlp_out", silence)]
            )
            expected = cache["resid_pre", 2][:, -1, 3] - plain["resid_pre", 2][:, -1, 3]
            torch.testing.assert_close(by_position.per_pair[:, layer, position], expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("layer", "expected"), [(2, {(1, 6), (4, 2)}), (3, {(4, 1)})])
def test_they_are_computed_once_and_never_after_the_last_attention(layer, expected):
    model, pairs = tiny_gpt2(n_layer=4), pairs_of_a_template(4, 8, 6)
    shapes = []
    norm = model.transformer.h[layer].ln_2
    norm.forward = lambda x, plain=norm.forward: (shapes.append(x.shape), plain(x))[1]
    hw.ablate_heads(model, pairs, kind="zero", metric="loss")
    assert {tuple(shape[1:3]) for shape in shapes if len(shape) == 4} == expected


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2, 3], [4, 2, 3]], 0),
        ([[1, 2, 3]], 0),
        ([[1] * 40, [1] + [2] * 39], 0),
    ],
)
def test_how_many_there_are_and_whether_they_pay(ids, count):
    assert leading_tokens(torch.tensor(ids)) == count
