"""The interface, proved by networks that share nothing with GPT-2: every site by the engine, held to whole forwards."""

import pytest
import torch

import headwatch as hw
from headwatch.interventions.sites import derangement
from headwatch.model.find import FAMILIES, find_architecture
from tests import toy
from tests.compare import effects_are
from tests.models import random_pairs, seeded
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
NEURONS = [3, 17]
both_kinds = pytest.mark.parametrize("parallel", [False, True], ids=["in a row", "side by side"])


@pytest.fixture(autouse=True)
def families(monkeypatch):
    known = dict(FAMILIES) | {"toy": toy.Toy, "parallel toy": toy.ParallelToy}
    monkeypatch.setattr(FAMILIES, "_known", known)


def units(site: str) -> list[int] | None:
    if site in ("k", "v"):
        return list(range(toy.KV_HEADS))
    return NEURONS if site in ("pre", "post") else None


def truth(model, pairs, site, kind, metric="logit_diff", **options):
    return sweep(model, pairs, site, kind, metric, units=units(site), forward=toy.forward, **options)


def options(site: str) -> dict:
    return {"neurons": NEURONS} if site in ("pre", "post") else {}


def sites(parallel: bool) -> list[str]:
    return [site for site in [*SITES, "pre", "post"] if not (parallel and site == "resid_mid")]


@both_kinds
@pytest.mark.parametrize("engine", ["exact", "hooks"])
@pytest.mark.parametrize("by_position", [False, True], ids=["all positions", "by position"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_patching_at_every_site(parallel, direction, by_position, engine):
    model, pairs = toy.ToyModel(2, parallel, seed=1), random_pairs(2, 5, shared=2)
    for site in sites(parallel):
        effects = hw.patch_activations(
            model, pairs, site, direction=direction, by_position=by_position, engine=engine, **options(site)
        )
        effects_are(effects, truth(model, pairs, site, direction, by_position=by_position))


@both_kinds
@pytest.mark.parametrize("engine", ["exact", "hooks"])
@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample"])
def test_ablation_at_every_site(parallel, kind, engine):
    model, pairs = toy.ToyModel(2, parallel, seed=2), random_pairs(3, 5)
    for site in sites(parallel):
        if (site, kind) == ("pattern", "mean"):
            continue
        found = hw.ablate(
            model, pairs, site, kind=kind, metric="loss", **seeded(kind, 3), engine=engine, **options(site)
        )
        effects_are(found, truth(model, pairs, site, kind, "loss", permutation=derangement(3, 3)))


@both_kinds
def test_prompts_that_begin_alike_and_prompts_of_several_lengths(parallel):
    model = toy.ToyModel(parallel=parallel, seed=3)
    alike = random_pairs(4, 8)
    alike.clean[:, :5] = alike.clean[:1, :5]
    effects_are(hw.ablate_heads(model, alike, kind="zero", engine="exact"), truth(model, alike, "z", "zero"))
    mixed = random_pairs(5, 9, lengths=[9, 7, 9, 8, 4])
    effects_are(hw.ablate_heads(model, mixed, engine="exact"), truth(model, mixed, "z", "mean"))


@both_kinds
@pytest.mark.parametrize("receiver_input", ["q", "k", "v", None])
@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
def test_paths_are_those_of_hooks(parallel, receiver_input, mlps):
    model, pairs = toy.ToyModel(parallel=parallel, seed=4), random_pairs(2, 5)
    receivers = "logits" if receiver_input is None else [(1, 1), (2, 0)]
    by_engine, by_hooks = (
        hw.patch_paths(
            model, pairs, receivers, receiver_input=receiver_input, mlps=mlps, engine=engine, layers=[0, 1]
        )
        for engine in ("exact", "hooks")
    )
    effects_are(by_engine, by_hooks.per_pair.double())


@both_kinds
def test_given_heads_and_sets_are_those_of_hooks(parallel):
    model, pairs = toy.ToyModel(parallel=parallel, seed=4), random_pairs(3, 6)
    given, sets = [(1, 2), (2, 0)], [[(0, 1), (2, 3)], [(1, 0)]]
    by_engine, by_hooks = (hw.ablate_heads(model, pairs, given=given, engine=e) for e in ("exact", "hooks"))
    effects_are(by_engine, by_hooks.per_pair.double())
    by_engine, by_hooks = (hw.ablate_head_sets(model, pairs, sets, engine=e) for e in ("exact", "hooks"))
    effects_are(by_engine, by_hooks.per_pair.double())


@both_kinds
@pytest.mark.parametrize("name", ["resid_pre2", "resid_post1", "mlp_out1", "post1", "pre2"])
def test_an_activation_as_the_metric(parallel, name):
    model, pairs = toy.ToyModel(parallel=parallel, seed=5), random_pairs(3, 6)
    metric = hw.metrics.activation(name, neuron=3)
    by_engine, by_hooks = (
        hw.ablate_heads(model, pairs, kind="zero", metric=metric, engine=engine)
        for engine in ("exact", "hooks")
    )
    effects_are(by_engine, by_hooks.per_pair.double())


def test_a_site_that_the_network_lacks_is_refused():
    with pytest.raises(ValueError, match="has no 'resid_mid'"):
        hw.ablate(toy.ToyModel(parallel=True), random_pairs(), "resid_mid")
    with hw.attach(toy.ToyModel()) as hooked, pytest.raises(ValueError, match=r"hook_pos_embed: .* has no"):
        hooked.run_with_cache(torch.tensor([1, 2]), names="pos_embed")


def test_keys_and_values_have_as_many_heads_as_the_network_gives_them():
    model, pairs = toy.ToyModel(), random_pairs(2, 5)
    assert hw.patch_activations(model, pairs, "k").mean.shape == (3, toy.KV_HEADS)
    assert hw.patch_activations(model, pairs, "q").mean.shape == (3, toy.HEADS)
    with pytest.raises(ValueError, match="heads"):
        hw.patch_activations(model, pairs, "v", heads=[2])


@both_kinds
def test_first_order_effects_are_the_derivatives_of_exact_ones(parallel):
    model, pairs = toy.ToyModel(parallel=parallel, seed=6).double(), random_pairs(3, 5)
    nearly = 1e-4
    with hw.attach(model) as hooked:
        _, clean = hooked.run_with_cache(pairs.clean)
        for site in ("z", "q", "k", "v"):
            estimate = hw.attribute_heads(model, pairs, target="zero", site=site)
            for layer, unit in [(0, 0), (1, 1), (2, 1)]:
                full = hw.act_name(site, layer)

                def lowered(value, hook, unit=unit, site=site):
                    value = value.clone()
                    value[:, :, unit] *= 1 - nearly
                    return value

                with torch.no_grad():
                    moved = hooked.run_with_hooks(pairs.clean, fwd_hooks=[(full, lowered)])
                    before = hooked.run_with_hooks(pairs.clean, fwd_hooks=[])
                change = (moved - before)[:, -1]
                slope = (change.gather(1, pairs.answer[:, None]) - change.gather(1, pairs.foil[:, None]))[
                    :, 0
                ]
                if site in ("z", "v"):  # q and k are followed through the softmax exactly, so no slope
                    torch.testing.assert_close(
                        estimate.per_pair[:, layer, unit].double(), slope / nearly, rtol=5e-3, atol=5e-4
                    )
    assert clean["k", 0].shape[2] == toy.KV_HEADS


@both_kinds
def test_the_cache_takes_the_stream_apart(parallel):
    model, ids = toy.ToyModel(parallel=parallel, seed=7), torch.randint(61, (2, 6))
    with torch.no_grad(), hw.attach(model) as hooked:
        logits, cache = hooked.run_with_cache(ids)
    torch.testing.assert_close(
        cache.decompose_resid().sum(0), cache["resid_post", -1 % 3], rtol=1e-4, atol=1e-4
    )
    answer, foil = torch.tensor([1, 2]), torch.tensor([3, 4])
    parts = cache.decompose_resid()
    found = cache.logit_attrs(parts, answer, foil).sum(0)[:, -1]
    rows = torch.arange(2)
    torch.testing.assert_close(found, logits[rows, -1, answer] - logits[rows, -1, foil], rtol=1e-4, atol=1e-4)


def test_scores_of_heads():
    model, ids = toy.ToyModel(seed=8), torch.randint(61, (2, 6))
    _, kept = toy.forward(model, ids)
    expected = torch.stack([kept[f"blocks.{layer}.attn.hook_pattern"] for layer in range(3)], dim=1)
    torch.testing.assert_close(hw.attention_patterns(model, ids), expected, rtol=1e-5, atol=1e-5)
    block = model.blocks[1]
    w_v = (block.v.weight * block.norm1.weight).T.unflatten(1, (toy.KV_HEADS, toy.D_HEAD))
    w_o = block.o.weight.T.unflatten(0, (toy.HEADS, toy.D_HEAD))
    w_u = (model.head.weight * model.norm.weight).T
    w_u = w_u - w_u.mean(1, keepdim=True)
    scores = []
    for head in range(toy.HEADS):
        whole = model.embed.weight @ w_v[:, head // 2] @ w_o[head] @ w_u
        values = torch.linalg.eigvals(whole.double())
        scores.append((values.real.sum() / values.abs().sum()).item())
    torch.testing.assert_close(hw.copying_scores(model)[1], torch.tensor(scores), rtol=1e-3, atol=1e-3)


def test_gradient_importance_listens():
    model, ids = toy.ToyModel(seed=9), torch.randint(61, (2, 6))
    importance = hw.GradientHeadImportance(3, toy.HEADS)
    with importance.attached(model):
        torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    assert (importance.compute()["raw"] > 0).all()


def test_the_family_is_found_inside_wrappers():
    model = toy.ToyModel()
    assert type(find_architecture(torch.nn.ModuleDict({"net": model}))) is toy.Toy
    assert type(find_architecture(toy.ToyModel(parallel=True))) is toy.ParallelToy
