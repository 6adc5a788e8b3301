"""Sweeps that are estimated: what they answer, what they are called, and what has only exact answers."""

import re

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.effects.estimated import EstimatedEffects
from headwatch_callbacks import ActivationPatching, HeadAblation, record_folder
from headwatch_callbacks.questions import Ablation, Patching
from tests.headwatch_callbacks.questions.test_questions import MODEL, NETWORK, answers_of
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
PAIRS = random_pairs(n=16, length=6)

SWEEPS = {
    "ablation": (Ablation, {"kind": "zero"}, {"kind": "zero"}),
    "narrowed": (
        Ablation,
        {"layers": [2, 0], "heads": [3]},
        {"kind": "mean", "layers": [2, 0], "heads": [3]},
    ),
    "patching": (Patching, {"site": "v", "direction": "noise"}, {"kind": "noise", "site": "v"}),
}


@pytest.mark.parametrize(("question", "options", "meant"), SWEEPS.values(), ids=SWEEPS)
def test_an_estimate_is_what_estimate_heads_gives(question, options, meant):
    asked = {"target_stderr": 1e-9}  # a target, not a budget, which the clock would decide
    [answer] = answers_of(question(PAIRS, metric="kl", **options, **asked))
    wanted = hw.estimate_heads(MODEL, PAIRS, metric="kl", **meant, **asked)
    assert isinstance(answer.effects, EstimatedEffects)
    assert torch.equal(answer.effects.n_exact, wanted.n_exact)
    assert torch.equal(answer.effects.mean, wanted.mean)
    assert answer.effects.coords == wanted.coords


def test_a_budget_reaches_the_estimate():
    """4 of 16 exact runs a head cost 0.25, without means to be taken, and more there is none to pay with."""
    [least] = answers_of(Ablation(PAIRS, metric="loss", kind="zero", budget=0.25))
    assert (least.effects.n_exact == 4).all()


def test_without_either_the_sweep_is_exact():
    [answer] = answers_of(Ablation(PAIRS, metric="loss"))
    assert answer.effects.exact


def test_an_estimate_belongs_to_the_series_of_the_exact_answers():
    """It is of the same number, and a budget for the whole run mixes the two."""
    exact, estimate = Ablation(PAIRS, metric="loss"), Ablation(PAIRS, metric="loss", budget=0.5)
    assert estimate.labels(NETWORK.sizes) == exact.labels(NETWORK.sizes)
    assert estimate.identity == exact.identity


def test_several_metrics_are_an_estimate_each():
    answers = answers_of(Ablation(PAIRS, metric=["loss", "kl"], target_stderr="20%"))
    assert [(each.label, each.effects.metric) for each in answers] == [
        ("ablation/z/mean/loss", "loss"),
        ("ablation/z/mean/kl", "kl"),
    ]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ablation(PAIRS, budget=0.5, by_position=True), "budget can't take effect: by_position=True"),
        (
            lambda: Patching(PAIRS, site="post", budget=0.5),
            "budget can't take effect: site='post' has no heads",
        ),
        (
            lambda: Patching(PAIRS, site="resid_pre", target_stderr="2%"),
            "target_stderr can't take effect: site='resid_pre' has no heads",
        ),
        (lambda: HeadAblation(PAIRS, by_position=True, budget=0.5), "budget can't take effect: by_position"),
        (
            lambda: ActivationPatching(PAIRS, site="mlp_out", budget=0.5),
            "budget can't take effect: site='mlp_out' has no heads",
        ),
        (lambda: Ablation(PAIRS, budget=0.0), "budget=0.0: give a share of the exact sweep's cost"),
        (lambda: Ablation(PAIRS, budget=1.5), "budget=1.5: give a share of the exact sweep's cost"),
        (lambda: Ablation(PAIRS, target_stderr="2"), "target_stderr='2': give a number above 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused_at_once(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (
            Ablation(PAIRS, kind="zero", budget=0.2),
            "budget=0.2 is less than 0.25, the share of 4 exact runs a head on 16 pairs",
        ),
        (Ablation(PAIRS, neurons=[1], budget=0.5), "neurons= has no effect at site='z'"),
    ],
)
def test_what_only_model_and_pairs_can_tell_is_refused_before_the_first_pass(question, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        question.prepare(NETWORK)


def test_a_training_records_and_compares_estimates(tmp_path):
    probe = HeadAblation(PAIRS, metric="loss", target_stderr="30%", every_n_train_steps=3)
    fitted = trainer([probe], tmp_path)
    fitted.fit(Language(), batches(), batches(2, shuffle=False))
    record = hw.Record.read(record_folder(fitted))
    assert [(entry.step, entry.exact) for entry in record.effects] == [(-1, False), (2, False), (5, False)]
    assert all(entry.n_exact.min() >= 4 and 0 < entry.cost <= 1.5 for entry in record.effects)
    assert np.isfinite(hw.compare(record, 2, 5).mean).all()
    summary = fitted.callback_metrics["headwatch/ablation/z/mean/loss/largest_effect"].item()
    assert summary == pytest.approx(np.abs(record.effects[-1].mean).max(), rel=1e-5)
