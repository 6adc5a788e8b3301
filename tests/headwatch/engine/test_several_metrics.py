"""Several metrics at once: the numbers of each alone, at the cost of one sweep."""

import pytest
import torch
from torch import nn

import headwatch as hw
from tests.models import random_pairs, tiny_gpt2

QUESTIONS = {
    "heads": lambda m, p, **more: hw.ablate_heads(m, p, kind="zero", **more),
    "given": lambda m, p, **more: hw.ablate_heads(m, p, kind="mean", given=[(0, 1)], **more),
    "sets": lambda m, p, **more: hw.ablate_head_sets(m, p, [[(0, 1)], [(1, 1), (2, 0)]], kind="zero", **more),
    "layers": lambda m, p, **more: hw.ablate(m, p, "mlp_out", kind="resample", by_position=True, **more),
    "denoising": lambda m, p, **more: hw.patch_activations(m, p, **more),
    "noising": lambda m, p, **more: hw.patch_activations(m, p, "v", direction="noise", **more),
    "paths": lambda m, p, **more: hw.patch_paths(m, p, [(2, 1), (1, 3)], receiver_input="v", **more),
    "attribution": lambda m, p, **more: hw.attribute_heads(m, p, **more),
}
AT_THE_ANSWER = ["logit_diff", "loss", "kl"]
SWEEPS = [name for name in QUESTIONS if name != "attribution"]


def calls_of(module: nn.Module) -> list[torch.Size]:
    """The shapes of the inputs that a module gets from now on."""
    shapes: list[torch.Size] = []
    plain = module.forward

    def forward(value: torch.Tensor) -> torch.Tensor:
        shapes.append(value.shape)
        return plain(value)

    module.forward = forward
    return shapes


def same(several: dict[str, hw.Effects], alone: dict[str, hw.Effects]) -> None:
    assert list(several) == list(alone)
    for name, effects in alone.items():
        found = several[name]
        assert (found.metric, found.dims, found.coords) == (name, effects.dims, effects.coords)
        assert effects.per_pair.abs().max() > 1e-3, "the interventions do nothing: a bad test"
        for part in ("per_pair", "clean", "corrupted", "given"):
            one, other = getattr(found, part), getattr(effects, part)
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ["auto", "hooks"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_each_is_what_it_is_alone(question, engine):
    model, pairs, ask = tiny_gpt2(seed=1), random_pairs(3, 6), QUESTIONS[question]
    alone = {name: ask(model, pairs, metric=name, engine=engine) for name in AT_THE_ANSWER}
    same(ask(model, pairs, metric=AT_THE_ANSWER, engine=engine), alone)


@pytest.mark.parametrize("position", [None, torch.tensor([5, 3, 5])])
def test_metrics_that_read_elsewhere_are_measured_too(position):
    model, drawn = tiny_gpt2(seed=2), random_pairs(3, 6)
    parts = (drawn.clean, drawn.corrupted, drawn.answer, drawn.foil)
    pairs = hw.PromptPairs.from_tokens(*parts, position)
    activations = [hw.metrics.activation("post2", neuron=3), hw.metrics.activation("resid_mid1", neuron=7)]
    metrics = [activations[0], "loss", "sequence_loss", activations[1], "prob_diff"]
    alone = [hw.patch_activations(model, pairs, metric=metric) for metric in metrics]
    several = hw.patch_activations(model, pairs, metric=metrics)
    same(several, {effects.metric: effects for effects in alone})


@pytest.mark.parametrize("metrics", [AT_THE_ANSWER, ["logit_diff", "sequence_loss", "loss"]])
@pytest.mark.parametrize("question", SWEEPS)
def test_the_streams_are_computed_once_for_all(question, metrics, unchecked):
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    shapes = calls_of(model.transformer.h[2].ln_2)
    most = 0
    for metric in metrics:
        shapes.clear()
        QUESTIONS[question](model, pairs, metric=metric)
        most = max(most, len(shapes))
    shapes.clear()
    QUESTIONS[question](model, pairs, metric=metrics)
    assert len(shapes) == most > 0


def test_the_vocabulary_is_read_once_for_all(unchecked):
    model, pairs = tiny_gpt2(), random_pairs(3, 6)
    shapes = calls_of(model.lm_head)
    hw.ablate_heads(model, pairs, kind="zero", metric="loss")
    alone = list(shapes)
    shapes.clear()
    hw.ablate_heads(model, pairs, kind="zero", metric=["prob", "loss", "logit_diff", "accuracy"])
    assert shapes == alone


def test_hooks_take_one_forward_for_all():
    model, pairs = tiny_gpt2(), random_pairs(2, 5)
    shapes = calls_of(model.transformer.h[0].ln_1)
    metrics = ["loss", "sequence_loss", hw.metrics.activation("z1", head=0, neuron=1)]
    hw.ablate_heads(model, pairs, kind="zero", metric=metrics, engine="hooks")
    assert len(shapes) == 1 + 3 * 4


def test_attribution_runs_forward_once_for_all():
    model, pairs = tiny_gpt2(), random_pairs(2, 5)
    shapes = calls_of(model.transformer.h[0].ln_1)
    hw.attribute_heads(model, pairs, metric=AT_THE_ANSWER)
    assert len(shapes) == 2


def test_progress_counts_pairs_over_all_sweeps():
    seen = []
    hw.ablate_heads(
        tiny_gpt2(),
        random_pairs(5, 4),
        metric=["loss", hw.metrics.activation("post1", neuron=0)],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (5, 5)


def test_none_is_the_metric_that_the_pairs_were_made_for():
    model, pairs = tiny_gpt2(), random_pairs(3, 5)
    sets = hw.PromptPairs.from_pairs(
        [
            hw.PromptPair((1, 2, 3), (1, 4, 3), answer=(5, 6), foil=(7, 8)),
            hw.PromptPair((1, 2, 9), (1, 4, 9), answer=(5, 7), foil=(8, 9)),
        ],
        None,
    )
    for ask in QUESTIONS.values():
        assert ask(model, pairs).metric == "logit_diff"
        assert ask(model, sets).metric == "prob_diff"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ([], r"metric=\[\]: give at least one"),
        (["loss", "kl", "loss"], r"metric=\['loss', 'kl', 'loss'\]: one is named twice"),
        (["loss", "lossy"], "unknown metric 'lossy'; known: loss"),
    ],
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_list_that_cannot_be_measured_is_one_clear_sentence(question, metric, message):
    with pytest.raises(ValueError, match=message):
        QUESTIONS[question](tiny_gpt2(), random_pairs(3, 5), metric=metric)
