import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch import metrics
from headwatch.ablation import ablate
from headwatch.attribution.attribute import attribute_heads
from headwatch.interventions.sites import derangement
from headwatch.patching import patch_activations
from headwatch.prompts.pairs import PromptPairs
from headwatch.scores.gradient_importance import GradientHeadImportance
from tests.models import random_ids, random_pairs, seeded, tiny_gpt2

LAYERS, HEADS, D_HEAD = 3, 4, 8


@contextmanager
def before(module: torch.nn.Module, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Pass a module's input through a function."""

    def hook(_: object, args: tuple[Tensor]) -> tuple[Tensor] | None:
        value = function(args[0])
        return None if value is None else (value,)

    handle = module.register_forward_pre_hook(hook)
    yield
    handle.remove()


@contextmanager
def after(module: torch.nn.Module, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Pass a module's output through a function."""
    handle = module.register_forward_hook(lambda _, args, output: function(output))
    yield
    handle.remove()


def z_and_qkv(model: GPT2LMHeadModel, ids: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """A layer's z `[pair, position, d_model]` and its q, k and v side by side, by plain hooks."""
    kept: list[Tensor] = []
    attention = model.transformer.h[layer].attn
    with after(attention.c_attn, kept.append), before(attention.c_proj, kept.append):
        model(ids)
    return kept[1], kept[0]


def logit_diff(model: GPT2LMHeadModel, ids: Tensor, pairs: PromptPairs) -> Tensor:
    rows = torch.arange(len(pairs))
    logits = model(ids, attention_mask=pairs.attention_mask).logits[rows, pairs.position]
    return logits[rows, pairs.answer] - logits[rows, pairs.foil]


def derivative_along(
    model: GPT2LMHeadModel, ids: Tensor, pairs: PromptPairs, layer: int, direction: Tensor, step: float = 1e-5
) -> Tensor:
    """d logit_diff(z + ε · direction) / dε at 0, by central differences."""
    projection = model.transformer.h[layer].attn.c_proj
    with before(projection, lambda z: z + step * direction):
        up = logit_diff(model, ids, pairs)
    with before(projection, lambda z: z - step * direction):
        down = logit_diff(model, ids, pairs)
    return (up - down) / (2 * step)


def part_of(head: int, block: int = 0) -> slice:
    start = block * HEADS * D_HEAD + head * D_HEAD
    return slice(start, start + D_HEAD)


def z_with_other_qkv(
    model: GPT2LMHeadModel, ids: Tensor, layer: int, other: Tensor, part: slice, positions: slice
) -> Tensor:
    """A layer's z when one head's q, k or v is taken from another run."""

    def write(qkv: Tensor) -> Tensor:
        replaced = qkv.clone()
        replaced[:, positions, part] = other[:, positions, part]
        return replaced

    with after(model.transformer.h[layer].attn.c_attn, write):
        return z_and_qkv(model, ids, layer)[0]


@torch.no_grad()
def by_finite_differences(
    model: GPT2LMHeadModel, base: Tensor, other: Tensor, pairs: PromptPairs, site: str, positions: slice
) -> Tensor:
    """First-order effects `[pair, layer, head]`, each from two forwards with plain hooks."""
    effects = torch.zeros(len(pairs), LAYERS, HEADS, dtype=torch.float64)
    for layer in range(LAYERS):
        z, _ = z_and_qkv(model, base, layer)
        other_z, other_qkv = z_and_qkv(model, other, layer)
        for head in range(HEADS):
            direction = torch.zeros_like(z)
            part = part_of(head)
            if site == "z":
                direction[:, positions, part] = (other_z - z)[:, positions, part]
            else:
                qkv_part = part_of(head, "qkv".index(site))
                moved = z_with_other_qkv(model, base, layer, other_qkv, qkv_part, positions)
                direction = moved - z
                assert direction.abs().max() > 1e-3 or positions != slice(None)
            effects[:, layer, head] = derivative_along(model, base, pairs, layer, direction)
    return effects.float()


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    return tiny_gpt2(scale_attn_by_inverse_layer_idx=True).double()


@pytest.mark.parametrize("site", ["z", "q", "k", "v"])
@pytest.mark.parametrize("target", ["denoise", "noise"])
def test_estimates_equal_finite_differences(model: GPT2LMHeadModel, site: str, target: str) -> None:
    pairs = random_pairs(4, 7)
    base, other = (pairs.corrupted, pairs.clean) if target == "denoise" else (pairs.clean, pairs.corrupted)
    expected = by_finite_differences(model, base, other, pairs, site, slice(None))
    effects = attribute_heads(model, pairs, target=target, site=site)
    torch.testing.assert_close(effects.per_pair, expected, rtol=1e-4, atol=1e-6)
    assert expected.abs().mean() > 0.01
    assert not effects.exact
    assert (effects.kind, effects.site, effects.dims) == (
        "denoise" if target == "denoise" else "noise",
        site,
        ("layer", "head"),
    )


@pytest.mark.parametrize("site", ["z", "q", "k", "v"])
def test_estimates_by_position_equal_finite_differences(model: GPT2LMHeadModel, site: str) -> None:
    pairs = random_pairs(3, 5, shared=1)
    effects = attribute_heads(model, pairs, site=site, by_position=True)
    assert effects.dims == ("layer", "head", "position")
    for position in range(5):
        where = slice(position, position + 1)
        expected = by_finite_differences(model, pairs.corrupted, pairs.clean, pairs, site, where)
        torch.testing.assert_close(effects.per_pair[..., position], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample"])
def test_ablations_of_z_equal_finite_differences(model: GPT2LMHeadModel, kind: str) -> None:
    pairs = random_pairs(4, 6)
    effects = attribute_heads(model, pairs, target=kind, **seeded(kind, 3))
    with torch.no_grad():
        for layer in range(LAYERS):
            z, _ = z_and_qkv(model, pairs.clean, layer)
            new = {
                "zero": torch.zeros_like(z),
                "mean": z.mean((0, 1)).expand_as(z),
                "position_mean": z.mean(0).expand_as(z),
                "resample": z[derangement(4, seed=3)],
            }[kind]
            for head in range(HEADS):
                direction = torch.zeros_like(z)
                direction[..., part_of(head)] = (new - z)[..., part_of(head)]
                expected = derivative_along(model, pairs.clean, pairs, layer, direction).float()
                torch.testing.assert_close(effects.per_pair[:, layer, head], expected, rtol=1e-4, atol=1e-6)
    assert (effects.kind, effects.corrupted) == (kind, None)
    torch.testing.assert_close(effects.clean, logit_diff(model, pairs.clean, pairs).detach().float())


@pytest.mark.parametrize("site", ["z", "q", "k", "v", "pattern"])
@pytest.mark.parametrize("by_position", [False, True])
def test_a_metric_that_is_linear_in_z_is_exact(site: str, by_position: bool) -> None:
    model, pairs = tiny_gpt2(), random_pairs(4, 7)
    metric = metrics.activation("attn_out2", neuron=11)
    estimate = attribute_heads(model, pairs, metric=metric, site=site, by_position=by_position)
    exact = patch_activations(model, pairs, site, by_position=by_position, metric=metric)
    torch.testing.assert_close(estimate.per_pair[:, 2], exact.per_pair[:, 2], rtol=1e-3, atol=1e-5)
    assert exact.per_pair[:, 2].abs().max() > 0.01
    assert exact.dims == estimate.dims


@pytest.mark.parametrize("kind", ["zero", "position_mean", "resample"])
def test_ablated_patterns_of_a_linear_metric_are_exact(kind: str) -> None:
    model, pairs = tiny_gpt2(), random_pairs(4, 7)
    metric = metrics.activation("attn_out2", neuron=11)
    estimate = attribute_heads(model, pairs, target=kind, metric=metric, site="pattern", **seeded(kind, 2))
    exact = ablate(model, pairs, "pattern", kind=kind, metric=metric, **seeded(kind, 2))
    torch.testing.assert_close(estimate.per_pair[:, 2], exact.per_pair[:, 2], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("target", ["denoise", "noise", "mean", "resample"])
def test_one_more_head_where_some_are_replaced(target: str) -> None:
    model, pairs, given = tiny_gpt2(), random_pairs(4, 7), [(0, 1), (2, 3)]
    metric, options = metrics.activation("attn_out2", neuron=11), {"given": given, "layers": 2}
    estimate = attribute_heads(model, pairs, target=target, metric=metric, **options)
    if target in ("denoise", "noise"):
        exact = patch_activations(model, pairs, direction=target, metric=metric, **options)
    else:
        exact = ablate(model, pairs, kind=target, metric=metric, **options)
    for part in ("per_pair", "clean", "given", "not_intervened"):
        torch.testing.assert_close(getattr(estimate, part), getattr(exact, part), rtol=1e-3, atol=1e-5)
    assert (exact.given - exact.clean).abs().max() > 0.01
    assert estimate.per_pair[:, 0, 3].abs().max() < 1e-6
    assert exact.per_pair[:, 0, :3].abs().max() > 0.01


@pytest.mark.parametrize("site", ["z", "k", "pattern"])
def test_chosen_layers_and_heads_are_those_of_all(site: str) -> None:
    model, pairs = tiny_gpt2(), random_pairs(4, 7)
    every = attribute_heads(model, pairs, site=site)
    some = attribute_heads(model, pairs, site=site, layers=[2, 0], heads=[3, 1])
    torch.testing.assert_close(some.per_pair, every.per_pair[:, [2, 0]][:, :, [3, 1]])
    assert dict(some.coords) == {"layer": (2, 0), "head": (3, 1)}


def test_bf16_is_near_and_not_the_same() -> None:
    model, pairs = tiny_gpt2(noise=0.1), random_pairs(6)
    full, rough = attribute_heads(model, pairs), attribute_heads(model, pairs, precision="bf16")
    with torch.autocast("cpu", torch.bfloat16):
        around = attribute_heads(model, pairs)
    assert rough.per_pair.equal(around.per_pair)
    error = (rough.per_pair - full.per_pair).abs().max() / full.per_pair.abs().max()
    assert 1e-4 < error < 0.2


def test_small_changes_agree_with_exact_patching() -> None:
    model = tiny_gpt2()
    pairs = random_pairs(6, 8)
    embedding = model.transformer.wte.weight
    with torch.no_grad():  # clean and corrupted tokens become nearly the same
        embedding.copy_(embedding.mean(0) + 0.02 * (embedding - embedding.mean(0)))
    for site in ("z", "q", "k", "v"):
        exact = patch_activations(model, pairs, site).per_pair
        estimate = attribute_heads(model, pairs, site=site).per_pair
        large = exact.abs() > 0.1 * exact.abs().max()
        assert large.sum() > 5
        assert (exact[large].sign() == estimate[large].sign()).float().mean() > 0.95
        assert torch.corrcoef(torch.stack([exact.flatten(), estimate.flatten()]))[0, 1] > 0.95


@pytest.mark.parametrize("metric", ["loss", "logit_diff", "prob", "prob_diff", "sequence_loss", "kl"])
def test_both_runs_are_measured_as_by_patching(metric: str) -> None:
    model, pairs = tiny_gpt2(), random_pairs(5, 9, lengths=[9, 4, 7, 9, 6])
    exact = patch_activations(model, pairs, metric=metric)
    estimate = attribute_heads(model, pairs, metric=metric)
    torch.testing.assert_close(estimate.clean, exact.clean)
    torch.testing.assert_close(estimate.corrupted, exact.corrupted)
    assert estimate.baseline == pytest.approx(exact.baseline)
    assert estimate.per_pair.abs().max() > 1e-3


def test_batches_and_padding_change_nothing() -> None:
    model, pairs = tiny_gpt2(), random_pairs(5, 9, lengths=[9, 4, 7, 9, 6])
    for site in ("z", "q", "k", "v"):
        together = attribute_heads(model, pairs, site=site)
        in_twos = attribute_heads(model, pairs, site=site, batch_size=2)
        torch.testing.assert_close(together.per_pair, in_twos.per_pair, rtol=1e-4, atol=1e-5)
        for pair in range(5):
            alone = attribute_heads(model, pairs[[pair]], site=site)
            torch.testing.assert_close(together.per_pair[pair], alone.per_pair[0], rtol=1e-4, atol=1e-5)


def test_two_forwards_and_one_backward() -> None:
    model, pairs, calls = tiny_gpt2(), random_pairs(4), {"forward": 0, "backward": 0}

    def count(name: str) -> None:
        calls[name] += 1

    model.lm_head.register_forward_hook(lambda *_: count("forward"))
    model.transformer.h[0].mlp.register_full_backward_hook(lambda *_: count("backward"))
    attribute_heads(model, pairs)
    assert calls == {"forward": 2, "backward": 1}


def test_within_inference_mode() -> None:
    model = tiny_gpt2()
    expected = attribute_heads(model, random_pairs(4))
    with torch.inference_mode():
        found = attribute_heads(model, random_pairs(4))
    torch.testing.assert_close(found.per_pair, expected.per_pair)
    assert not found.per_pair.requires_grad


def test_frozen_models_and_no_grad() -> None:
    model, pairs = tiny_gpt2(), random_pairs(4)
    expected = attribute_heads(model, pairs)
    with torch.no_grad():
        found = attribute_heads(copy.deepcopy(model).requires_grad_(False), pairs)
    torch.testing.assert_close(found.per_pair, expected.per_pair)


def test_nothing_is_left_behind() -> None:
    model, pairs = tiny_gpt2().train(), random_pairs(4)
    model.transformer.h[1].eval()
    ids = random_ids(2, 6)
    model(ids, labels=ids).loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    modes, state = [module.training for module in model.modules()], torch.random.get_rng_state()
    importance = GradientHeadImportance(LAYERS, HEADS)
    with importance.attached(model):
        attribute_heads(model, pairs)
    assert importance.tokens.sum() == 0
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_autocast_stays_close() -> None:
    model, pairs = tiny_gpt2(noise=0.1), random_pairs(6)
    full = attribute_heads(model, pairs).per_pair
    with torch.autocast("cpu", torch.bfloat16):
        low = attribute_heads(model, pairs).per_pair
    assert torch.corrcoef(torch.stack([full.flatten(), low.flatten()]))[0, 1] > 0.99


def test_progress_counts_pairs() -> None:
    seen: list[tuple[int, int]] = []
    attribute_heads(
        tiny_gpt2(), random_pairs(5), batch_size=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_what_cannot_be_attributed_says_why() -> None:
    model, pairs = tiny_gpt2(), random_pairs(5, 9, lengths=[9, 4, 7, 9, 6])
    with pytest.raises(ValueError, match="unknown target 'patching'; known: denoise, noise, zero"):
        attribute_heads(model, pairs, target="patching")
    with pytest.raises(ValueError, match="site='mlp_out' is no site of heads; known: z, q, k, v, pattern"):
        attribute_heads(model, pairs, site="mlp_out")
    with pytest.raises(ValueError, match="accuracy has no gradient"):
        attribute_heads(model, pairs, metric="accuracy")
    with pytest.raises(ValueError, match="kl is at its minimum on the clean run"):
        attribute_heads(model, pairs, target="mean", metric="kl")
    with pytest.raises(ValueError, match="prompts of one length"):
        attribute_heads(model, pairs, by_position=True)
    with pytest.raises(ValueError, match="prompts of one length"):
        attribute_heads(model, pairs, target="position_mean")
    with pytest.raises(ValueError, match="engine='exact' has no effect on a first-order estimate"):
        attribute_heads(model, pairs, engine="exact")
    with pytest.raises(ValueError, match="max_tokens_per_batch= has no effect on a first-order estimate"):
        attribute_heads(model, pairs, max_tokens_per_batch=10)
    with pytest.raises(ValueError, match="given= has no effect at site='q'"):
        attribute_heads(model, pairs, site="q", given=[(0, 1)])
    with pytest.raises(ValueError, match="accuracy has no gradient"):
        attribute_heads(model, pairs, metric=["loss", "accuracy"])
    frozen = copy.deepcopy(model).requires_grad_(False)
    with pytest.raises(ValueError, match="no gradient with respect to any head's z"):
        attribute_heads(frozen, pairs, metric=metrics.activation("resid_pre0", neuron=1))
