"""Counted costs, held to the operations that PyTorch counts while the same is run."""

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from benchmarks.bound import Shape, layers_above, sweep_work
from benchmarks.jobs import Job
from headwatch.estimates.costs import costs_of
from headwatch.model.architecture import Sizes
from tests.headwatch.estimates.questions import question
from tests.models import random_pairs, tiny_gpt2

N, LAYERS, WIDTH, VOCABULARY, LENGTH = 8, 6, 128, 997, 14
# Multiply-adds of GPT-2's projections: q, k, v and the output, then the MLP.
BLOCK = 4 * WIDTH**2 + 8 * WIDTH**2


def forward_of(length):
    """One forward, of whose last layer only keys and values are computed everywhere."""
    keys = 2 * WIDTH**2
    return (LAYERS - 1) * length * BLOCK + length * keys + BLOCK - keys


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2(n_layer=LAYERS, n_embd=WIDTH, vocab_size=VOCABULARY)


@pytest.fixture(autouse=True)
def _counted_kernels(monkeypatch):
    """PyTorch doesn't count oneDNN's products."""
    monkeypatch.setattr("headwatch.model.fast_linear._FUSED", None)


def forwards(work, length=LENGTH):
    """How many forward-equivalents a pair some work takes, by PyTorch's count."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2 / forward_of(length) / N


QUESTIONS = [
    *(
        {"kind": kind, "metric": metric}
        for kind in ("zero", "resample", "denoise", "noise")
        for metric in ("logit_diff", "loss")
    ),
    *({"kind": "denoise", "site": site} for site in ("q", "k", "v", "pattern")),
    *({"kind": kind, "given": [(1, 1)]} for kind in ("zero", "denoise")),
    {"kind": "zero", "metric": "sequence_loss"},
    {"kind": "zero", "layers": [1, 4], "heads": [0]},
    {"kind": "zero", "lengths": [14, 8, 9, 10, 12, 14, 13, 14]},
    {"kind": "zero", "engine": "hooks"},
    {"kind": "denoise", "engine": "hooks"},
]


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: " ".join(map(str, asked.values())))
def test_sweeps_and_first_order_cost_what_is_counted(model, asked):
    options = dict(asked)
    pairs = random_pairs(N, LENGTH, vocab=VOCABULARY, shared=5, lengths=options.pop("lengths", None))
    with question(model, pairs, **options) as sweep:
        sweep.run.engine_answers  # noqa: B018 - checked here, not counted
        rows, costs, length = np.arange(N), sweep.costs, round(sweep.length)
        exact = forwards(lambda: sweep.exact(rows), length)
        first_order = forwards(lambda: sweep.first_order(rows), length)
        nothing = replace(sweep.run.sweep, only=frozenset())
        base = forwards(lambda: sweep.run.result(nothing), length)
        counted = costs.exact[list(sweep.run.sweep.layers)].sum() * sweep.shape[1] + costs.base
    assert counted == pytest.approx(exact, rel=0.1)
    assert costs.base == pytest.approx(base, rel=0.2)
    assert costs.first_order / counted == pytest.approx(first_order / exact, rel=0.25)


@pytest.mark.parametrize("kind", ["zero", "denoise"])
def test_the_answer_position_alone_costs_what_is_counted(model, kind):
    with question(model, random_pairs(N, LENGTH, vocab=VOCABULARY, shared=5), kind) as sweep:
        sweep.run.engine_answers  # noqa: B018
        counted = sweep.costs.last.sum() * sweep.shape[1] + sweep.costs.base
        assert counted == pytest.approx(forwards(lambda: sweep.at_answer(np.arange(N))), rel=0.1)


@pytest.mark.parametrize("kind", ["mean", "position_mean"])
def test_means_cost_what_is_counted(model, kind):
    def ask():
        with question(model, random_pairs(N, LENGTH, vocab=VOCABULARY), kind) as sweep:
            costs.append(sweep.costs)

    costs = []
    with question(model, random_pairs(N, LENGTH, vocab=VOCABULARY), "zero") as sweep:
        sweep.run.engine_answers  # noqa: B018 - checked once a process
    assert forwards(ask) >= costs[0].values == pytest.approx(1.157, abs=1e-3)


def test_ablating_all_heads_costs_what_the_bound_counts():
    """The count of least arithmetic has attention's own products besides, 2 % of it here."""
    costs = costs_of(Sizes(12, 12, 12, 64, 768, 3072, 1024, 50257), 15, 15)
    job, shape = Job("", "z", "zero", 15), Shape.of(GPT2Config(), 15)
    sweep = sweep_work(job, shape, 1, job.interventions(12, 12)).flops
    counted = costs.exact.sum() * 12 + costs.base
    assert counted == pytest.approx(sweep / layers_above(shape, -1, 15).flops, rel=0.05)


def test_shared_keys_cost_less():
    """Multiply-adds of 3 layers of 4 heads by hand: width 20, heads of 6 of which keys have 2, MLP of 24, 61 tokens."""
    costs = costs_of(Sizes(3, 4, 2, 6, 20, 24, 40, 61), 10, 7)
    keys, rest = 2 * 20 * 12, 2 * 20 * 24 + 2 * 20 * 24
    forward = 2 * 10 * (keys + rest) + 10 * keys + rest
    mlp = 2 * 20 * 24
    below = [7 * (mlp + keys + rest + keys) + rest, 7 * (mlp + keys) + rest, mlp]
    np.testing.assert_allclose(costs.exact, np.array(below) / forward)
    one = [mlp + keys + rest + keys + rest, mlp + keys + rest, mlp]
    np.testing.assert_allclose(costs.last, np.array(one) / forward)
    everywhere = 10 * (3 * (keys + rest) + 20 * 61) / forward
    at_the_answer = (10 * 3 * (keys + rest) + 20 * 61) / forward
    assert costs.first_order == pytest.approx(2 * at_the_answer)
    several_answers = costs_of(Sizes(3, 4, 2, 6, 20, 24, 40, 61), 10, 7, one_answer=False)
    assert several_answers.first_order == pytest.approx(2 * everywhere)
    assert (costs.base, costs.values) == (1, 0)


def test_a_head_costs_what_its_own_layer_does(model):
    pairs = random_pairs(N, LENGTH, vocab=VOCABULARY)
    with question(model, pairs, "zero", layers=[1, 4], heads=[0, 2]) as sweep:
        assert sweep.of_each_head(np.arange(6.0)).tolist() == [1, 1, 4, 4]
