"""Path patching against whole forwards written out, edited by name."""

import pytest

import headwatch as hw
from tests.compare import effects_are
from tests.models import random_pairs, tiny_gpt2
from tests.reference.heads import path_effects


@pytest.mark.parametrize("direction", ["noise", "denoise"])
@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
@pytest.mark.parametrize("metric", ["logit_diff", "loss", "sequence_loss"])
def test_the_direct_effect_on_the_logits(direction, mlps, metric):
    model, pairs = tiny_gpt2(seed=1), random_pairs(3, 6, shared=2)
    effects = hw.patch_paths(model, pairs, direction=direction, mlps=mlps, metric=metric)
    effects_are(effects, path_effects(model, pairs, "logits", None, direction, mlps, metric))
    assert effects.dims == ("layer", "head")


@pytest.mark.parametrize("into", ["q", "k", "v"])
@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
@pytest.mark.parametrize("receivers", [[(2, 1)], [(1, 0), (1, 3)], [(3, 2), (1, 1), (3, 0)]])
@pytest.mark.parametrize("max_tokens", [None, 30])
def test_the_effect_through_some_receivers(into, mlps, receivers, max_tokens):
    model, pairs = tiny_gpt2(seed=2, n_layer=4), random_pairs(2, 6, shared=2)
    effects = hw.patch_paths(
        model, pairs, receivers, receiver_input=into, mlps=mlps, max_tokens_per_batch=max_tokens
    )
    effects_are(effects, path_effects(model, pairs, receivers, into, "noise", mlps))
    top = max(layer for layer, _ in receivers)
    assert not effects.per_pair[:, top:].any()


def test_denoising_through_receivers_in_chosen_layers():
    model, pairs = tiny_gpt2(seed=3), random_pairs(3, 6)
    effects = hw.patch_paths(model, pairs, [(2, 0)], receiver_input="v", direction="denoise", layers=[1, 0])
    effects_are(effects, path_effects(model, pairs, [(2, 0)], "v", "denoise", "recomputed")[:, [1, 0]])
    assert effects.kind == "denoise"


@pytest.mark.parametrize("receivers", ["logits", [(1, 2), (2, 3)]])
@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
def test_hooks_give_the_same(receivers, mlps):
    model, pairs, into = tiny_gpt2(seed=4), random_pairs(2, 5), None if receivers == "logits" else "k"
    effects = hw.patch_paths(model, pairs, receivers, receiver_input=into, mlps=mlps, engine="hooks")
    effects_are(effects, path_effects(model, pairs, receivers, into, "noise", mlps))


@pytest.mark.usefixtures("unchecked")
def test_attention_is_not_run_again_on_the_way_to_the_receivers():
    model, pairs = tiny_gpt2(n_layer=4), random_pairs(2, 6, shared=0)
    hw.patch_paths(model, pairs)
    calls = []
    model.transformer.h[1].ln_1.forward = lambda x, plain=model.transformer.h[1].ln_1.forward: (
        calls.append(x.shape),
        plain(x),
    )[1]
    hw.patch_paths(model, pairs)
    assert len(calls) == 2  # the clean and the corrupted run


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: hw.patch_paths(m, p, "logit"), r"receivers='logit': give 'logits' or heads"),
        (
            lambda m, p: hw.patch_paths(m, p, receiver_input="q"),
            "receiver_input='q' has no effect with receivers='logits'",
        ),
        (lambda m, p: hw.patch_paths(m, p, [(1, 1)]), "receiver_input=None: say what of the receiving heads"),
        (lambda m, p: hw.patch_paths(m, p, [], receiver_input="q"), r"receivers=\[\]: give some heads"),
        (
            lambda m, p: hw.patch_paths(m, p, [(1, 9)], receiver_input="q"),
            r"receivers: \(1, 9\) is no \(layer, head\)",
        ),
        (
            lambda m, p: hw.patch_paths(m, p, mlps="thawed"),
            "unknown mlps 'thawed'; known: recomputed, frozen",
        ),
        (lambda m, p: hw.patch_paths(m, p, direction="up"), "unknown direction 'up'"),
    ],
)
def test_bad_arguments_are_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_gpt2(), random_pairs(3, 5))
