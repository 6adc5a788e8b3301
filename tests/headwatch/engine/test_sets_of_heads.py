"""Heads ablated together, and one more head where some are gone already, against whole forwards written out."""

import pytest
import torch

import headwatch as hw
from headwatch.interventions.sites import derangement
from tests.compare import effects_are
from tests.models import random_pairs, seeded, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.heads import without_heads

SETS = [[(0, 1)], [(2, 3)], [(0, 0), (2, 1)], [(1, 2), (1, 3), (0, 2)], [(2, 0), (1, 0), (0, 3)]]
KINDS = ["zero", "mean", "position_mean", "resample"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_tokens", [None, 1, 70])
def test_sets_of_heads(kind, max_tokens):
    model, pairs = tiny_gpt2(seed=1), random_pairs(4, 7)
    effects = hw.ablate_head_sets(
        model, pairs, SETS, kind=kind, **seeded(kind, 3), max_tokens_per_batch=max_tokens, metric="loss"
    )
    plain = without_heads(model, pairs, [], kind, "loss")
    without = [without_heads(model, pairs, heads, kind, "loss", derangement(4, 3)) for heads in SETS]
    effects_are(effects.per_pair, torch.stack(without, 1) - plain[:, None])
    assert effects.dims == ("set",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["loss", "kl", "sequence_loss"])
def test_one_more_head_where_some_are_gone(kind, metric):
    model, pairs, given = tiny_gpt2(seed=2), random_pairs(3, 6), [(1, 2), (0, 3)]
    effects = hw.ablate_heads(model, pairs, kind=kind, metric=metric, given=given, **seeded(kind, 1))
    order = derangement(3, 1)
    base = without_heads(model, pairs, given, kind, metric, order)
    expected = torch.stack(
        [
            torch.stack(
                [
                    without_heads(model, pairs, [*given, (layer, head)], kind, metric, order)
                    for head in range(4)
                ],
                1,
            )
            for layer in range(3)
        ],
        1,
    )
    effects_are(effects.per_pair, expected - base[:, None, None])
    effects_are(effects.given, base)
    effects_are(effects.clean + 1, without_heads(model, pairs, [], kind, metric) + 1)
    assert effects.baseline == pytest.approx(base.mean().item(), rel=1e-5)
    assert effects.per_pair[:, 1, 2].abs().max() < 1e-5
    assert effects.per_pair[:, 0, 3].abs().max() < 1e-5


def test_given_heads_by_position():
    model, pairs = tiny_gpt2(seed=5), random_pairs(2, 5)
    effects = hw.ablate_heads(
        model, pairs, kind="zero", metric="logit_diff", given=[(1, 1)], by_position=True
    )

    def difference(edits):
        def edit(name, value):
            value = value.clone()
            for (layer, head), positions in edits:
                if name == f"blocks.{layer}.attn.hook_z":
                    value[:, positions, head] = 0
            return value

        logits = forward(model, pairs.clean, edit=edit)[0][:, -1]
        return logits.gather(1, pairs.answer[:, None])[:, 0] - logits.gather(1, pairs.foil[:, None])[:, 0]

    given = ((1, 1), slice(None))
    for layer, head, position in [(0, 0, 1), (0, 2, 4), (1, 3, 0), (1, 1, 2), (2, 1, 4), (2, 0, 2)]:
        expected = difference([given, ((layer, head), position)]) - difference([given])
        actual = effects.per_pair[:, layer, head, position]
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("engine", ["exact", "hooks"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_one_more_head_patched_where_some_are(direction, engine):
    model, pairs, given = tiny_gpt2(seed=6), random_pairs(3, 6, shared=2), [(1, 2), (0, 3)]
    effects = hw.patch_activations(model, pairs, direction=direction, given=given, engine=engine)
    base, other = (pairs.corrupted, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupted)
    new = forward(model, other)[1]

    def difference(heads):
        def edit(name, value):
            value = value.clone()
            for layer, head in heads:
                if name == f"blocks.{layer}.attn.hook_z":
                    value[:, :, head] = new[name][:, :, head]
            return value

        logits = forward(model, base, edit=edit)[0][:, -1]
        return logits.gather(1, pairs.answer[:, None])[:, 0] - logits.gather(1, pairs.foil[:, None])[:, 0]

    before = difference(given)
    torch.testing.assert_close(effects.given, before, rtol=0, atol=1e-4)
    torch.testing.assert_close(effects.not_intervened, before, rtol=0, atol=1e-4)
    expected = [[difference([*given, (layer, head)]) - before for head in range(4)] for layer in range(3)]
    effects_are(effects.per_pair, torch.stack([torch.stack(row, 1) for row in expected], 1).double())
    whole = effects.clean.mean() - effects.corrupted.mean()
    normalized = (before.mean() + effects.mean - effects.corrupted.mean()) / whole
    torch.testing.assert_close(effects.normalized, normalized, rtol=0, atol=1e-4)


@pytest.mark.parametrize("engine", ["exact", "hooks"])
def test_chosen_heads_of_each_layer_are_those_of_all(engine):
    model, pairs = tiny_gpt2(seed=7), random_pairs(3, 6, shared=2)
    every = hw.patch_activations(model, pairs, "v", by_position=True)
    some = hw.patch_activations(
        model, pairs, "v", by_position=True, layers=[2, 0], heads=[3, 1], engine=engine
    )
    effects_are(some.per_pair, every.per_pair[:, [2, 0]][:, :, [3, 1]].double())
    assert dict(some.coords) == {"layer": (2, 0), "head": (3, 1), "position": tuple(range(6))}
    paths = hw.patch_paths(model, pairs, heads=2, engine=engine)
    effects_are(paths.per_pair, hw.patch_paths(model, pairs).per_pair[:, :, [2]].double())


def test_hooks_give_the_same():
    model, pairs = tiny_gpt2(seed=3), random_pairs(3, 5)
    given = [(0, 1), (1, 1)]
    effects = hw.ablate_head_sets(model, pairs, SETS, kind="mean", metric="loss", engine="hooks")
    plain = without_heads(model, pairs, [], "mean", "loss")
    without = [without_heads(model, pairs, heads, "mean", "loss") for heads in SETS]
    effects_are(effects.per_pair, torch.stack(without, 1) - plain[:, None])
    effects = hw.ablate_heads(model, pairs, kind="mean", given=given, metric="loss", engine="hooks")
    base = without_heads(model, pairs, given, "mean", "loss")
    effects_are(effects.given, base)
    effects_are(
        effects.per_pair[:, 2, 2], without_heads(model, pairs, [*given, (2, 2)], "mean", "loss") - base
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, p: hw.ablate_heads(m, p, given=[(3, 0)], metric="loss"),
            r"given: \(3, 0\) is no \(layer, head\) .* 0 to 2",
        ),
        (
            lambda m, p: hw.ablate_heads(m, p, given=[(-1, 0)], metric="loss"),
            r"given: \(-1, 0\) is no \(layer, head\)",
        ),
        (lambda m, p: hw.ablate_head_sets(m, p, [], metric="loss"), r"sets=\[\]: give some sets of heads"),
        (
            lambda m, p: hw.ablate_head_sets(m, p, [[(0, 0)], []], metric="loss"),
            r"sets\[1\]=\[\]: give some heads",
        ),
        (lambda m, p: hw.ablate_head_sets(m, p, [[(0, 4)]], metric="loss"), r"sets\[0\]: \(0, 4\) is no"),
        (
            lambda m, p: hw.ablate_head_sets(m, p, [[(0, 1)]], kind="nought", metric="loss"),
            "unknown kind 'nought'",
        ),
    ],
)
def test_bad_heads_are_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_gpt2(), random_pairs(3, 5))
