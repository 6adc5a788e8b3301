"""Estimates of all heads: what they are made of, against exact sweeps; what they cost; what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.metrics import Metric
from tests.models import random_pairs, tiny_gpt2

N = 24


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2()


@pytest.fixture(scope="module")
def pairs():
    return random_pairs(N, 9)


def exact_of(model, pairs, kind, metric="logit_diff"):
    if kind in ("denoise", "noise"):
        return hw.patch_activations(model, pairs, direction=kind, metric=metric)
    return hw.ablate_heads(model, pairs, kind=kind, metric=metric)


@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample", "denoise", "noise"])
@pytest.mark.parametrize("metric", ["logit_diff", "loss"])
def test_what_is_run_is_the_exact_sweeps_own_with_values_from_all_pairs(model, pairs, kind, metric):
    found = hw.estimate_heads(model, pairs, kind=kind, metric=metric, budget=0.6)
    exact = exact_of(model, pairs, kind, metric)
    run = ~found.exact_values.isnan()
    torch.testing.assert_close(found.exact_values[run], exact.per_pair[run], rtol=0, atol=2e-5)
    assert (found.n_exact >= 4).all()
    assert (found.n_exact == run.sum(0)).all()
    for name in ("clean", "corrupted"):
        one, other = getattr(found, name), getattr(exact, name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_with_every_pair_run_it_is_the_exact_sweep(model, pairs):
    found = hw.estimate_heads(model, pairs[:4], kind="zero", metric="loss")
    exact = hw.ablate_heads(model, pairs[:4], kind="zero", metric="loss")
    torch.testing.assert_close(found.mean, exact.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.stderr, exact.stderr, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.degrees_of_freedom, torch.full((3, 4), 3.0))
    assert torch.equal(found.significant(), exact.significant())
    assert found.top(5) == exact.top(5)


def test_the_same_seed_runs_the_same_pairs_and_another_one_others(model, pairs):
    one, same, other = (hw.estimate_heads(model, pairs, metric="logit_diff", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.order, same.order)
    assert torch.equal(one.mean, same.mean)
    assert not torch.equal(one.order, other.order)


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
def test_a_budget_is_kept(model, pairs, budget):
    found = hw.estimate_heads(
        model, pairs, kind="zero", metric="logit_diff", budget=budget, target_stderr=1e-9
    )
    assert 4 / N <= found.cost <= budget


def test_more_precision_takes_more_runs(model, pairs):
    loose, tight = (
        hw.estimate_heads(model, pairs, kind="zero", metric="logit_diff", target_stderr=target)
        for target in ("80%", "exact")
    )
    assert loose.n_exact.sum() < tight.n_exact.sum()
    exact = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    assert (tight.stderr <= 1.5 * exact.stderr).all()  # 1.22 times, and both are estimates


def test_a_reference_gives_the_means(model, pairs):
    others = random_pairs(7, 9, seed=5)
    found = hw.estimate_heads(model, pairs, metric="logit_diff", reference=others)
    both = hw.ablate_heads(model, pairs, metric="logit_diff")
    run = ~found.exact_values.isnan()
    assert not torch.allclose(found.exact_values[run], both.per_pair[run], atol=1e-3)
    with hw.attach(model) as hooked:
        _, cache = hooked.run_with_cache(others.clean, names=["z0"])
        mean = cache["z0"].mean((0, 1))[1]

        def replace(z, hook):
            z[:, :, 1] = mean
            return z

        logits = hooked.run_with_hooks(pairs.clean, fwd_hooks=[("z0", replace)])[:, -1]
    rows = torch.arange(N)
    expected = logits[rows, pairs.answer] - logits[rows, pairs.foil] - found.clean
    here = run[:, 0, 1]
    torch.testing.assert_close(found.exact_values[here, 0, 1], expected[here].detach(), rtol=0, atol=2e-5)


def test_several_metrics_come_as_a_dict(model, pairs):
    found = hw.estimate_heads(model, pairs, metric=["loss", "logit_diff"])
    assert list(found) == ["loss", "logit_diff"]
    alone = hw.estimate_heads(model, pairs, metric="logit_diff")
    assert torch.equal(found["logit_diff"].mean, alone.mean)


def test_hooks_answer_where_they_are_asked_for(model, pairs):
    one, other = (
        hw.estimate_heads(
            model, pairs[:8], kind="zero", metric="loss", layers=[1], engine=engine, target_stderr="exact"
        )
        for engine in ("auto", "hooks")
    )
    torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=1e-4)
    assert one.coords["layer"] == (1,)


def test_a_result_is_kept_in_a_file(model, pairs, tmp_path):
    found = hw.estimate_heads(model, pairs, metric="logit_diff")
    found.save(tmp_path / "estimate.npz")
    again = hw.EstimatedEffects.load(tmp_path / "estimate.npz")
    assert torch.equal(again.mean, found.mean)
    assert torch.equal(again.suspect, found.suspect)
    assert (again.cost, again.covariate_names, again.coords) == (
        found.cost,
        found.covariate_names,
        found.coords,
    )
    assert repr(again) == repr(found)
    assert "estimated at" in repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, "budget=0.0: give a share of the exact sweep's cost, above 0 and up to 1"),
        ({"budget": 1.5}, "budget=1.5: give a share"),
        (
            {"budget": 0.1, "kind": "zero"},
            "budget=0.1 is less than 0.167, the share of 4 exact runs a head on 24 pairs",
        ),
        ({"target_stderr": "2 per cent"}, "target_stderr='2 per cent': give a number above 0"),
        ({"target_stderr": -1.0}, "target_stderr=-1.0"),
        ({"target_stderr": "0%"}, "target_stderr='0%'"),
        ({"kind": "meen"}, "unknown kind 'meen'"),
        ({"by_position": True}, "by_position= has no effect on estimates of heads"),
        ({"neurons": [1]}, "neurons= has no effect on estimates of heads"),
        ({"kind": "zero", "reference": random_pairs(3, 9)}, "reference= has no effect with kind='zero'"),
        (
            {"kind": "position_mean", "reference": random_pairs(3, 7)},
            "reference prompts of the pairs' 9 tokens",
        ),
        ({"site": "mlp_out"}, "site='mlp_out' has no heads to estimate: known: z, q, k, v, pattern, result"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(model, pairs, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        hw.estimate_heads(model, pairs, **options)


def test_a_budget_pays_for_the_means_too(model, pairs):
    """The means take a forward of every pair, unembedded at one place, which 4 exact runs of 24 don't leave out."""
    with pytest.raises(
        ValueError, match=r"is less than 0\.315, the share of 4 exact runs a head on 24 pairs"
    ):
        hw.estimate_heads(model, pairs, kind="mean", metric="logit_diff", budget=0.31)
    found = hw.estimate_heads(model, pairs, kind="mean", metric="logit_diff", budget=0.316)
    assert found.covariate_names == ("none",)
    assert (found.n_exact == 4).all()
    assert found.cost <= 0.316


def test_the_least_budget_buys_the_first_runs_and_no_covariate(model, pairs):
    found = hw.estimate_heads(model, pairs, kind="zero", metric="logit_diff", budget=4 / N)
    assert (found.covariate_names, found.cost) == (("none",), pytest.approx(4 / N))
    assert (found.n_exact == 4).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_as_few_pairs_as_the_first_runs_take_are_all_run(model, pairs, n):
    found = hw.estimate_heads(model, pairs[:n], metric="logit_diff", budget=1.0)
    exact = hw.ablate_heads(model, pairs[:n], metric="logit_diff")
    assert (found.cost, found.covariate_names) == (pytest.approx(1), ("none",))
    for name in ("mean", "stderr"):
        torch.testing.assert_close(
            getattr(found, name), getattr(exact, name), rtol=0, atol=1e-5, equal_nan=True
        )
    for one, other in zip(found.interval(), exact.interval(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
    assert torch.equal(found.significant(), exact.significant())
    assert len(found.to_dataframe()) == 12
    assert ("no interval from one pair" in repr(found)) == (n == 1)


def model_that_gives_nan():
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.bias[3] = torch.nan
    return model


def test_what_is_no_number_is_shown_as_none_and_marks_nothing(pairs):
    found = hw.estimate_heads(model_that_gives_nan(), pairs, kind="zero", metric="loss")
    assert found.mean.isnan().all()
    assert found.stderr.isnan().all()
    assert not found.significant().any()
    assert not found.suspect.any()
    assert found.clean.isnan().all()
    assert found.top() == []
    assert found.to_dataframe()[["mean", "stderr", "low", "high", "p"]].isna().to_numpy().all()
    assert "no finite effect" in repr(found)
    assert "<svg" in found._repr_html_()


@pytest.mark.parametrize("place", range(8))
def test_one_pair_that_is_no_number_makes_every_mean_none(model, place):
    """As in the exact sweep, though that pair may not have been run: its clean run is known."""
    broken = Metric(
        "broken", "answers", lambda columns, targets: columns[..., 0].where(targets.foil != 60, torch.nan)
    )
    pairs = random_pairs(8, 9)
    foil = torch.ones(8, dtype=torch.long)
    foil[place] = 60
    pairs = replace(pairs, foil=foil, answer=torch.full((8,), 3))
    found = hw.estimate_heads(model, pairs, kind="zero", metric=broken, target_stderr=100.0)
    exact = hw.ablate_heads(model, pairs, kind="zero", metric=broken)
    assert exact.mean.isnan().all()
    assert found.mean.isnan().all()
    assert not found.significant().any()


def test_no_effect_at_all_is_found_with_the_first_runs(pairs):
    model = tiny_gpt2()
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_proj.weight.zero_()
    found = hw.estimate_heads(model, pairs, kind="zero", metric="loss")
    assert (found.n_exact == 4).all()
    assert not found.mean.any()
    assert not found.stderr.any()
    assert not found.significant().any()
    assert found.covariate_r2.isnan().all()


def test_progress_goes_up_to_all_pairs_once_whatever_the_number_of_metrics(model, pairs):
    told = []
    hw.estimate_heads(
        model,
        pairs,
        kind="zero",
        metric=["loss", "logit_diff"],
        target_stderr=100.0,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 24), (12, 24), (14, 24), (24, 24)]


def test_a_model_in_training_is_left_as_it_was(pairs):
    model = tiny_gpt2().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    hw.estimate_heads(model, pairs, metric="loss")
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_coverage_over_draws_of_pairs(model):
    """Each draw of 24 of 400 pairs has an interval for the mean over all of them."""
    everyone = random_pairs(400, 9, seed=11)
    truth = hw.ablate_heads(model, everyone, kind="zero", metric="logit_diff").mean
    draw, hits = np.random.default_rng(0), []
    for seed in range(25):
        some = everyone[torch.from_numpy(draw.choice(400, N))]
        low, high = hw.estimate_heads(model, some, kind="zero", metric="logit_diff", seed=seed).interval(0.95)
        hits.append((low <= truth) & (truth <= high))
    assert 0.90 <= torch.stack(hits).float().mean() <= 1


def made(exact, covariate, tail, names):
    nothing = torch.zeros(len(exact), dtype=torch.long)
    runs = torch.zeros(len(exact))
    about = (("layer", "head"), "z", "mean", "loss")
    return hw.EstimatedEffects(exact, covariate, tail, nothing, nothing, runs, None, *about, 0.2, 0.2, names)


def test_whom_to_suspect():
    """Of four heads: one well explained, one badly, one badly but run on all pairs, one whose tail was missed."""
    generator = torch.Generator().manual_seed(0)
    covariate, noise = torch.randn(2, 40, 1, 4, generator=generator)
    exact = covariate + noise * torch.tensor([0.1, 2.0, 2.0, 0.1])
    exact[10:, 0, [0, 1, 3]] = torch.nan
    tail = torch.ones_like(covariate)
    tail[10:, 0, 3] = 9.0
    found = made(exact, covariate, tail, ("first order",))
    assert found.suspect.tolist() == [[False, True, False, True]]
    assert made(exact, covariate, tail, ("none",)).suspect.tolist() == [
        [False, True, False, True]
    ]  # 10 runs are few
    expected = 1 - (exact - covariate)[:10, 0, 1].var() / exact[:10, 0, 1].var()
    torch.testing.assert_close(found.covariate_r2[0, 1], expected)
