"""What covariates say of pairs, against attribution, sweeps by position and derivatives worked out apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

import headwatch as hw
from headwatch.estimates.covariates import FirstOrder, LastPosition, NoCovariate, mapped
from headwatch.metrics import Metric, activation
from headwatch.model.find import FAMILIES
from tests import toy
from tests.headwatch.estimates.questions import question
from tests.models import random_pairs, tiny_gpt2

N, LENGTH = 6, 9
ROWS = np.array([4, 0, 3])
KINDS = ["zero", "mean", "position_mean", "resample", "denoise", "noise"]
PATCHING = ("denoise", "noise")


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2()


@pytest.fixture(scope="module")
def pairs():
    return random_pairs(N, LENGTH)


def early(pairs):
    """The same pairs, read before the end at three places."""
    return replace(pairs, position=torch.tensor([8, 5, 8, 6, 5, 6]))


def sweep(model, pairs, kind, **options):
    if kind in PATCHING:
        return hw.patch_activations(model, pairs, direction=kind, **options)
    return hw.ablate_heads(model, pairs, kind=kind, **options)


def at_answer(effects, pairs):
    """Of effects by position, those of the answer's, `[pair, cell]`."""
    rows = torch.arange(len(pairs))
    return effects.per_pair[rows, ..., pairs.position].flatten(1).double().numpy()


def cells(effects):
    return effects.per_pair.flatten(1).double().numpy()


def close(found, expected, tolerance=2e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_none_says_nothing(model, pairs):
    with question(model, pairs, "zero") as asked:
        guess = NoCovariate(asked).guess(ROWS)
        assert (NoCovariate(asked).cost(), NoCovariate(asked).serves()) == (0, True)
    assert guess.values.shape == guess.tail.shape == (3, 12)
    assert not guess.values.any()
    assert not guess.tail.any()


SETTINGS = {
    "plain": (lambda pairs: pairs, {}),
    "answers before the end": (early, {}),
    "given heads": (lambda pairs: pairs, {"given": [(0, 1), (1, 2)]}),
    "some heads": (lambda pairs: pairs, {"layers": [0, 2], "heads": [1, 3]}),
    "hooks": (lambda pairs: pairs, {"engine": "hooks"}),
    "small batches": (early, {"batch_size": 2}),
}
settings = pytest.mark.parametrize("setting", SETTINGS)


@settings
@pytest.mark.parametrize("kind", KINDS)
def test_first_order_and_last_position_on_a_logit_difference(model, pairs, kind, setting):
    change, options = SETTINGS[setting]
    pairs = change(pairs)
    fast = {name: value for name, value in options.items() if name != "engine"}
    together = cells(hw.attribute_heads(model, pairs, target=kind, metric="logit_diff", **fast))
    apart = hw.attribute_heads(model, pairs, target=kind, metric="logit_diff", by_position=True, **fast)
    exact = at_answer(sweep(model, pairs, kind, metric="logit_diff", by_position=True, **options), pairs)
    hybrid = exact + cells(apart).reshape(*together.shape, -1).sum(-1) - at_answer(apart, pairs)
    with question(model, pairs, kind, **options) as asked:
        one, other = FirstOrder(asked).guess(ROWS), LastPosition(asked).guess(ROWS)
    close(one.values, together[ROWS])
    close(other.values, hybrid[ROWS])
    close(one.tail, (0.1 * together[ROWS]) ** 2)
    close(other.tail, (np.abs(hybrid - together) + 0.1 * np.abs(hybrid))[ROWS] ** 2, 1e-4)


@pytest.mark.parametrize("kind", ["zero", "denoise"])
def test_prompts_of_several_lengths_are_each_their_own(model, kind):
    pairs = random_pairs(N, LENGTH, lengths=[9, 6, 7, 9, 5, 6])
    with question(model, pairs, kind) as asked:
        one, other = FirstOrder(asked).guess(ROWS), LastPosition(asked).guess(ROWS)
        exact = asked.exact(ROWS)
    for at, row in enumerate(ROWS):
        alone = pairs[row : row + 1].by_length()[int(pairs.lengths[row])]
        fast = {"target": kind, "metric": "logit_diff"}
        together = cells(hw.attribute_heads(model, alone, **fast))
        apart = hw.attribute_heads(model, alone, by_position=True, **fast)
        there = at_answer(sweep(model, alone, kind, metric="logit_diff", by_position=True), alone)
        close(one.values[[at]], together)
        close(other.values[[at]], there + together - at_answer(apart, alone))
        close(exact[[at]], cells(sweep(model, alone, kind, metric="logit_diff")))


def log_odds(logits, targets):
    """Of the answer against all other tokens."""
    rows = torch.arange(logits.shape[-2])
    answer = logits[..., rows, targets.answer]
    others = logits.clone()
    others[..., rows, targets.answer] = -torch.inf
    return answer - others.logsumexp(-1)


ODDS = Metric("log_odds", "vocabulary", log_odds)


@pytest.mark.parametrize("setting", ["plain", "answers before the end", "given heads"])
@pytest.mark.parametrize("kind", ["zero", "resample", "denoise", "noise"])
def test_on_the_loss_the_answers_log_odds_are_linear(model, pairs, kind, setting):
    change, options = SETTINGS[setting]
    pairs = change(pairs)
    apart = hw.attribute_heads(model, pairs, target=kind, metric=ODDS, by_position=True, **options)
    base = apart.not_intervened.double().numpy()[:, None]
    everywhere, there = cells(apart).reshape(N, 12, -1).sum(-1), at_answer(apart, pairs)
    loss = softplus(-torch.from_numpy(base)).numpy()

    def loss_of(odds):
        return softplus(-torch.from_numpy(odds)).numpy()

    first_order = loss_of(base + everywhere) - loss
    exact = loss + at_answer(sweep(model, pairs, kind, metric="loss", by_position=True, **options), pairs)
    hybrid = loss_of(-np.log(np.expm1(exact)) + everywhere - there) - loss
    with question(model, pairs, kind, "loss", **options) as asked:
        one, other = FirstOrder(asked).guess(ROWS), LastPosition(asked).guess(ROWS)
    close(one.values, first_order[ROWS], 1e-4)
    close(other.values, hybrid[ROWS], 1e-4)


@pytest.mark.parametrize("site", ["q", "k", "v", "pattern"])
def test_other_sites(model, pairs, site):
    together = cells(hw.attribute_heads(model, pairs, target="denoise", metric="logit_diff", site=site))
    with question(model, pairs, "denoise", site=site) as asked:
        close(FirstOrder(asked).guess(ROWS).values, together[ROWS])
        serves = LastPosition(asked).serves()
        # A changed key moves the attention of later positions: positions don't add up.
        assert serves == (site != "k")
        if serves:
            apart = hw.attribute_heads(
                model, pairs, target="denoise", metric="logit_diff", site=site, by_position=True
            )
            exact = sweep(model, pairs, "denoise", metric="logit_diff", site=site, by_position=True)
            hybrid = at_answer(exact, pairs) + together - at_answer(apart, pairs)
            close(LastPosition(asked).guess(ROWS).values, hybrid[ROWS], 1e-4)


@pytest.mark.parametrize(
    ("metric", "kind", "site", "first_order", "last"),
    [
        ("logit_diff", "zero", "z", True, True),
        ("prob", "zero", "z", True, True),
        ("accuracy", "zero", "z", False, False),
        ("accuracy", "denoise", "z", False, False),
        ("kl", "zero", "z", False, False),
        ("kl", "noise", "z", False, False),
        ("kl", "denoise", "z", True, True),
        ("sequence_loss", "zero", "z", True, False),
        (activation("blocks.2.mlp.hook_post", neuron=1), "zero", "z", True, False),
        ("logit_diff", "denoise", "k", True, False),
        ("logit_diff", "denoise", "result", False, False),
    ],
)
def test_where_they_serve(model, pairs, metric, kind, site, first_order, last):
    with question(model, pairs, kind, metric, site=site) as asked:
        assert (FirstOrder(asked).serves(), LastPosition(asked).serves()) == (first_order, last)


@pytest.mark.parametrize(
    "metric", ["prob", "kl", "sequence_loss", activation("blocks.2.mlp.hook_post", neuron=1)]
)
def test_first_order_of_other_metrics(model, pairs, metric):
    effects = hw.attribute_heads(model, pairs, target="denoise", metric=metric)
    with question(model, pairs, "denoise", metric) as asked:
        close(FirstOrder(asked).guess(ROWS).values, cells(effects)[ROWS])


def test_costs_are_those_of_what_is_run(model, pairs):
    with question(model, pairs, "zero", layers=[0, 2], heads=[1, 3]) as asked:
        costs = asked.costs
        assert FirstOrder(asked).cost() == costs.first_order
        assert LastPosition(asked).cost() == pytest.approx(
            costs.first_order + costs.base + 2 * (costs.last[0] + costs.last[2])
        )


@pytest.mark.parametrize("kind", ["zero", "denoise"])
def test_heads_that_share_keys(monkeypatch, kind):
    monkeypatch.setattr(FAMILIES, "_known", dict(FAMILIES) | {"toy": toy.Toy})
    model, pairs = toy.ToyModel(seed=2), random_pairs(N, LENGTH)
    exact = sweep(model, pairs, kind, metric="logit_diff")
    found = hw.estimate_heads(model, pairs, kind=kind, metric="logit_diff", target_stderr="exact")
    run = ~found.exact_values.isnan()
    torch.testing.assert_close(found.exact_values[run], exact.per_pair[run], rtol=0, atol=2e-5)
    for site, heads in (("q", 4), ("k", 2), ("v", 2)):
        with question(model, pairs, "denoise", site=site) as asked:
            assert asked.shape == (3, heads)
            effects = hw.attribute_heads(model, pairs, target="denoise", metric="logit_diff", site=site)
            close(FirstOrder(asked).guess(ROWS).values, cells(effects)[ROWS], 1e-4)


def test_a_saturated_loss_is_no_larger_than_its_gradient_says(model, pairs):
    """In float32 a loss of 1e-9 reads 0, with a gradient that is none."""
    with question(model, pairs, "zero", "loss") as asked:
        asked.not_intervened()["clean"][:] = 0.0
        found = mapped(asked, ROWS, np.zeros((3, 12)), np.full((3, 12), 1e-9))
    assert (np.abs(found) < 1e-6).all()
