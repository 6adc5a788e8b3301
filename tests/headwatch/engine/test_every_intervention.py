"""Ablation and patching against tests.reference, at every site and for every kind."""

import pytest
import torch

import headwatch as hw
from headwatch.interventions.sites import derangement
from tests.compare import effects_are
from tests.models import random_pairs, seeded, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.sweeps import sweep

HEAD_SITES = ["z", "q", "k", "v", "pattern", "result"]
LAYER_SITES = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
METRICS = ["loss", "logit_diff", "prob", "accuracy", "kl", "sequence_loss"]


@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample"])
@pytest.mark.parametrize("site", HEAD_SITES + LAYER_SITES)
def test_ablation_at_every_site(site, kind):
    if (site, kind) == ("pattern", "mean"):
        pytest.skip("a pattern has no mean over prompts' tokens; refused, see test_bad_arguments")
    model, pairs = tiny_gpt2(seed=1), random_pairs(4, 7)
    effects = hw.ablate(model, pairs, site, kind=kind, metric="loss", **seeded(kind, 3))
    effects_are(effects, sweep(model, pairs, site, kind, "loss", permutation=derangement(4, 3)))
    assert effects.dims == (("layer", "head") if site in HEAD_SITES else ("layer",))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("site", HEAD_SITES + LAYER_SITES)
def test_patching_at_every_site(site, by_position, direction):
    model, pairs = tiny_gpt2(seed=2), random_pairs(3, 6, shared=2)
    effects = hw.patch_activations(model, pairs, site, direction=direction, by_position=by_position)
    effects_are(effects, sweep(model, pairs, site, direction, "logit_diff", by_position=by_position))


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
def test_ablation_by_position(kind):
    model, pairs = tiny_gpt2(seed=4), random_pairs(3, 5)
    effects = hw.ablate_heads(model, pairs, kind=kind, metric="logit_diff", by_position=True)
    expected = sweep(model, pairs, "z", kind, "logit_diff", by_position=True, permutation=derangement(3))
    effects_are(effects, expected)
    assert effects.dims == ("layer", "head", "position")


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric(metric):
    model, pairs = tiny_gpt2(seed=5, noise=0.4), random_pairs(12, 6, seed=5)
    predicted = forward(model, pairs.clean)[0][:, -1].argmax(-1)  # right answers, for accuracy to fall from
    pairs = hw.PromptPairs.from_tokens(pairs.clean, pairs.corrupted, predicted, pairs.foil)
    effects_are(
        hw.ablate_heads(model, pairs, kind="zero", metric=metric), sweep(model, pairs, "z", "zero", metric)
    )
    effects_are(
        hw.patch_activations(model, pairs, "resid_mid", direction="denoise", by_position=True, metric=metric),
        sweep(model, pairs, "resid_mid", "denoise", metric, by_position=True),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_attn_by_inverse_layer_idx": True},
        {"n_inner": 40, "activation_function": "relu"},
        {"tie_word_embeddings": False},
        {"attn_implementation": "eager"},
        {"attn_implementation": "eager", "reorder_and_upcast_attn": True},
        {"n_layer": 1, "n_head": 1},
        {"n_layer": 4, "n_head": 2, "n_embd": 12, "vocab_size": 17},
    ],
    ids=str,
)
def test_other_models(settings):
    model = tiny_gpt2(seed=6, **settings)
    pairs = random_pairs(3, 6, vocab=model.config.vocab_size)
    effects_are(
        hw.ablate_heads(model, pairs, kind="mean", metric="loss"), sweep(model, pairs, "z", "mean", "loss")
    )
    effects_are(
        hw.patch_activations(model, pairs, "k", direction="noise"),
        sweep(model, pairs, "k", "noise", "logit_diff"),
    )


@pytest.mark.parametrize("kind", ["zero", "mean", "denoise", "noise"])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_prompts_of_unequal_length_in_batches_of_any_size(kind, batch_size):
    model = tiny_gpt2(seed=7)
    pairs = random_pairs(5, 9, lengths=[9, 4, 6, 9, 5])
    if kind in ("zero", "mean"):
        effects = hw.ablate_heads(model, pairs, kind=kind, metric="loss", batch_size=batch_size)
        effects_are(effects, sweep(model, pairs, "z", kind, "loss"))
    else:
        effects = hw.patch_activations(model, pairs, "v", direction=kind, batch_size=batch_size)
        effects_are(effects, sweep(model, pairs, "v", kind, "logit_diff"))


def test_a_metric_read_before_the_last_token():
    model = tiny_gpt2(seed=8)
    drawn = random_pairs(4, 8, shared=1)
    position = torch.tensor([2, 7, 5, 3])
    pairs = hw.PromptPairs.from_tokens(drawn.clean, drawn.corrupted, drawn.answer, drawn.foil, position)
    effects_are(
        hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff"),
        sweep(model, pairs, "z", "zero", "logit_diff"),
    )
    expected = sweep(model, pairs, "q", "noise", "logit_diff", by_position=True)
    effects_are(hw.patch_activations(model, pairs, "q", direction="noise", by_position=True), expected)


@pytest.mark.parametrize("site", ["post", "pre"])
def test_single_neurons(site):
    model, pairs = tiny_gpt2(seed=9, n_inner=24), random_pairs(3, 6)
    effects = hw.patch_activations(model, pairs, site, neurons=[5, 0, 23], layers=[2, 0])
    effects_are(effects, sweep(model, pairs, site, "denoise", "logit_diff", layers=[2, 0], units=[5, 0, 23]))
    assert effects.dims == ("layer", "neuron")
    ablated = hw.ablate(model, pairs, site, kind="mean", metric="loss", neurons=[7, 8])
    effects_are(ablated, sweep(model, pairs, site, "mean", "loss", units=[7, 8]))


def test_the_statistics_are_those_of_the_effects_per_pair():
    model, pairs = tiny_gpt2(), random_pairs(6, 6)
    effects = hw.patch_activations(model, pairs, "z", direction="denoise")
    values = effects.per_pair.double().numpy()
    torch.testing.assert_close(effects.mean.double().numpy(), values.mean(0), rtol=0, atol=1e-6)
    stderr = values.std(0, ddof=1) / 6**0.5
    torch.testing.assert_close(effects.stderr.double().numpy(), stderr, rtol=0, atol=1e-6)
    clean, corrupted = effects.clean.mean().item(), effects.corrupted.mean().item()
    assert effects.n == 6
    assert effects.baseline == pytest.approx(corrupted)
    expected = (corrupted + values.mean(0) - corrupted) / (clean - corrupted)
    torch.testing.assert_close(effects.normalized.double().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_patching_the_whole_stream_restores_the_clean_run():
    model, pairs = tiny_gpt2(), random_pairs(5, 6)
    effects = hw.patch_activations(model, pairs, "resid_pre", direction="denoise")
    torch.testing.assert_close(effects.normalized, torch.ones(3), rtol=0, atol=1e-5)


def test_how_one_neuron_responds_and_which_head_drives_it():
    model, pairs = tiny_gpt2(seed=11), random_pairs(4, 6)
    metric = hw.metrics.activation("post2", neuron=17)
    effects = hw.patch_activations(model, pairs, "z", direction="denoise", metric=metric)
    with torch.no_grad(), hw.attach(model) as hooked:
        _, clean = hooked.run_with_cache(pairs.clean, names=["z0", "post2"])
        _, corrupted = hooked.run_with_cache(pairs.corrupted, names="post2")

        def from_clean(value, hook):
            value[:, :, 1] = clean["z", 0][:, :, 1]

        _, patched = hooked.run_with_cache(pairs.corrupted, names="post2", fwd_hooks=[("z0", from_clean)])
    neuron = ("post", 2)
    torch.testing.assert_close(effects.clean, clean[neuron][:, -1, 17])
    torch.testing.assert_close(effects.corrupted, corrupted[neuron][:, -1, 17])
    expected = patched[neuron][:, -1, 17] - corrupted[neuron][:, -1, 17]
    torch.testing.assert_close(effects.per_pair[:, 0, 1], expected, rtol=1e-4, atol=1e-5)
    assert effects.metric == "blocks.2.mlp.hook_post[17]"


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_model_is_as_before(mode):
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    model.train(mode == "train")
    model.transformer.h[1].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    expected = sweep(model, pairs, "z", "zero", "loss")
    effects_are(hw.ablate_heads(model, pairs, kind="zero", metric="loss"), expected)
    with pytest.raises(ValueError, match="unknown site"):
        hw.ablate(model, pairs, "zebra", metric="loss")
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_works_in_inference_mode():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    with torch.inference_mode():
        effects = hw.patch_activations(model, pairs, "pattern", direction="noise")
    effects_are(effects, sweep(model, pairs, "pattern", "noise", "logit_diff"))


def test_progress_counts_pairs():
    seen = []
    hw.ablate_heads(
        tiny_gpt2(),
        random_pairs(5, 4),
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
        metric="loss",
    )
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, p: hw.ablate_heads(m, p, kind="nought", metric="loss"),
            "unknown kind 'nought'; known: zero, mean",
        ),
        (lambda m, p: hw.ablate_heads(m, p, metric="lossy"), "unknown metric 'lossy'; known: loss"),
        (lambda m, p: hw.ablate(m, p, "zebra", metric="loss"), "unknown site 'zebra'; known: z, q"),
        (lambda m, p: hw.ablate(m, p, "pattern", kind="mean", metric="loss"), "use kind='position_mean'"),
        (lambda m, p: hw.ablate(m, p[:1], "z", kind="resample", metric="loss"), "give two pairs or more"),
        (lambda m, p: hw.ablate_heads(m, p, layers=[3], metric="loss"), r"layers=\[3\]: give some of 0 to 2"),
        (lambda m, p: hw.ablate(m, p, "z", neurons=[1], metric="loss"), "neurons= has no effect at site='z'"),
        (
            lambda m, p: hw.ablate(m, p, "post", neurons=[128], metric="loss"),
            r"neurons=\[128\]: give some of 0 to 127",
        ),
        (lambda m, p: hw.ablate_heads(m, p, batch_size=0, metric="loss"), "batch_size=0: give 1 or more"),
        (
            lambda m, p: hw.patch_activations(m, p, direction="up"),
            "unknown direction 'up'; known: denoise, noise",
        ),
        (
            lambda m, p: hw.ablate_heads(m, p, metric=hw.metrics.activation("post3", neuron=0)),
            "the model has layers 0 to 2",
        ),
        (lambda m, p: hw.metrics.activation("z1"), "needs head="),
        (lambda m, p: hw.metrics.activation("post1", head=2), "takes no head="),
        (lambda m, p: hw.metrics.activation("pattern1", head=2), "needs key="),
    ],
)
def test_bad_arguments_are_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_gpt2(), random_pairs(3, 5))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, p: hw.ablate_heads(m, p, kind="position_mean", metric="loss"),
        lambda m, p: hw.ablate_heads(m, p, kind="resample", metric="loss"),
        lambda m, p: hw.patch_activations(m, p, by_position=True),
    ],
)
def test_one_length_is_asked_for_where_it_is_needed(call):
    with pytest.raises(ValueError, match=r"needs prompts of one length, these have 3, 5 tokens.*by_length"):
        call(tiny_gpt2(), random_pairs(3, 5, lengths=[5, 3, 5]))


def test_pairs_that_do_not_fit_the_model():
    with pytest.raises(ValueError, match="context holds 40"):
        hw.ablate_heads(tiny_gpt2(), random_pairs(2, 41), metric="loss")
    with pytest.raises(ValueError, match="vocabulary"):
        hw.ablate_heads(tiny_gpt2(vocab_size=30), random_pairs(2, 4, vocab=61), metric="loss")


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_a_derangement_leaves_nothing_in_place_and_repeats(n):
    order = derangement(n, seed=1)
    assert sorted(order.tolist()) == list(range(n))
    assert (order != torch.arange(n)).all()
    assert torch.equal(order, derangement(n, seed=1))
