"""Expected values are numpy loops over pairs, in float64."""

from functools import partial

import numpy as np
import pytest
import torch

from headwatch import metrics
from headwatch.metrics import METRICS, Metric, Targets
from headwatch.model.hooked_model import attach
from tests import compare
from tests.models import random_ids, tiny_gpt2
from tests.reference.functional import forward

PAIRS, LENGTH, VOCAB = 5, 6, 11
LENGTHS = [6, 3, 2, 5, 6]
ANSWER_SETS = [[1, 2, 3], [4, -1, -1], [0, 10, -1], [5, -1, -1], [-1, -1, -1]]
FOIL_SETS = [[4, -1], [0, 1], [2, 3], [-1, -1], [9, -1]]


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def targets(sets: bool = False) -> Targets:
    answer = random_ids(1, PAIRS, VOCAB, seed=1)[0]
    return Targets(
        answer=answer,
        foil=(answer + 3) % VOCAB,
        ids=random_ids(PAIRS, LENGTH, VOCAB, seed=2),
        lengths=torch.tensor(LENGTHS),
        clean_logits=random_logits(PAIRS, VOCAB, seed=9),
        answer_set=torch.tensor(ANSWER_SETS) if sets else None,
        foil_set=torch.tensor(FOIL_SETS) if sets else None,
    )


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def one_pair(name: str, row: np.ndarray, pair: int, at: Targets) -> float:
    answer, foil, p = int(at.answer[pair]), int(at.foil[pair]), softmax(row)
    clean = softmax(at.clean_logits[pair].double().numpy())
    return {
        "loss": -np.log(p[answer]),
        "logit_diff": row[answer] - row[foil],
        "prob": p[answer],
        "prob_diff": p[answer] - p[foil],
        "accuracy": float(all(row[answer] >= other for other in row)),
        "kl": sum(c * (np.log(c) - np.log(q)) for c, q in zip(clean, p, strict=True)),
    }[name]


close = partial(compare.close, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["loss", "logit_diff", "prob", "prob_diff", "accuracy", "kl"])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_a_metric_of_the_answer_position(name, leading):
    at, logits = targets(), random_logits(*leading, PAIRS, VOCAB)
    if name == "accuracy":  # right by chance is rare: make the first two pairs right
        logits[..., :2, :].scatter_(-1, at.answer[:2, None].expand(*leading, 2, 1), 20.0)
    rows = logits.double().numpy().reshape(-1, PAIRS, VOCAB)
    expected = [[one_pair(name, run[i], i, at) for i in range(PAIRS)] for run in rows]
    close(metrics.get_metric(name)(logits, at), np.reshape(expected, (*leading, PAIRS)))


@pytest.mark.parametrize("leading", [(), (3,)])
def test_prob_diff_of_sets_of_answers_leaves_out_their_padding(leading):
    at, logits = targets(sets=True), random_logits(*leading, PAIRS, VOCAB)
    expected = []
    for row, right, wrong in zip(
        logits.double().numpy().reshape(-1, VOCAB),
        ANSWER_SETS * (len(leading) * 2 + 1),
        FOIL_SETS * (len(leading) * 2 + 1),
        strict=True,
    ):
        p = softmax(row)
        expected.append(sum(p[t] for t in right if t >= 0) - sum(p[t] for t in wrong if t >= 0))
    close(metrics.get_metric("prob_diff")(logits, at), np.reshape(expected, (*leading, PAIRS)))


@pytest.mark.parametrize("leading", [(), (3,)])
def test_sequence_loss_is_the_mean_over_each_prompts_real_tokens(leading):
    at, logits = targets(), random_logits(*leading, PAIRS, LENGTH, VOCAB)
    expected = []
    for run in logits.double().numpy().reshape(-1, PAIRS, LENGTH, VOCAB):
        for pair, length in enumerate(LENGTHS):
            losses = [
                -np.log(softmax(run[pair, i])[int(at.ids[pair, i + 1])])
                for i in range(length - 1)  # the last real token predicts nothing that is there
            ]
            expected.append(sum(losses) / len(losses))
    close(METRICS["sequence_loss"].function(logits, at), np.reshape(expected, (*leading, PAIRS)))


@pytest.mark.parametrize("name", ["loss", "prob", "kl", "prob_diff"])
def test_a_very_sure_model_has_finite_numbers(name):
    at = targets()
    logits = torch.zeros(PAIRS, VOCAB).scatter_(-1, at.foil[:, None], 500.0)
    assert metrics.get_metric(name)(logits, at).isfinite().all()


def test_kl_to_the_clean_run_itself_is_0():
    at = targets()
    close(metrics.get_metric("kl")(at.clean_logits, at), np.zeros(PAIRS))


@pytest.mark.parametrize("metric", [METRICS["sequence_loss"], metrics.activation("post1")])
def test_a_metric_that_reads_more_than_the_answer_position_says_so(metric):
    with pytest.raises(ValueError, match="is not a function of the logits at the answer position"):
        metric(random_logits(PAIRS, VOCAB), targets())


@pytest.mark.parametrize("name", list(METRICS))
def test_a_metric_is_found_by_its_name(name):
    found = metrics.get_metric(name)
    assert isinstance(found, Metric)
    assert found.name == name
    assert metrics.get_metric(found) is found


def test_an_unknown_metric_is_an_error_that_names_all():
    with pytest.raises(
        ValueError, match=r"unknown metric 'zebra'; known: loss, .*activation\('post3', neuron=17\)"
    ):
        metrics.get_metric("zebra")


@pytest.mark.parametrize(
    ("metric", "name", "index"),
    [
        (metrics.activation("post1", neuron=17), "blocks.1.mlp.hook_post", ("position", 17)),
        (metrics.activation(("resid_post", 2), neuron=3), "blocks.2.hook_resid_post", ("position", 3)),
        (metrics.activation("scale0ln1"), "blocks.0.ln1.hook_scale", ("position", 0)),
        (metrics.activation("z2", head=1, neuron=5), "blocks.2.attn.hook_z", ("position", 1, 5)),
        (metrics.activation("pattern1", head=3, key=2), "blocks.1.attn.hook_pattern", (3, "position", 2)),
        (
            metrics.activation("attn_scores0", head=0, key=1),
            "blocks.0.attn.hook_attn_scores",
            (0, "position", 1),
        ),
    ],
)
def test_one_number_of_an_activation_at_each_pairs_position(metric, name, index):
    model, ids, positions = tiny_gpt2(), random_ids(3, 6), [5, 2, 4]
    with torch.no_grad(), attach(model) as hooked:
        _, cache = hooked.run_with_cache(ids)
        _, reference = forward(model, ids)
    expected = []
    for pair, position in enumerate(positions):
        place = (pair, *(position if part == "position" else part for part in index))
        expected.append(reference[name][place].item())
    assert metric.activation.name == name
    close(metric.activation.read(cache[name], torch.tensor(positions)), expected)
    assert metric.name.startswith(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "z1"}, r"activation\('blocks.1.attn.hook_z'\) needs head=, got head=None"),
        ({"name": "post1", "head": 2}, "takes no head=, got head=2"),
        ({"name": "pattern1", "head": 2}, "needs key=, got key=None"),
        ({"name": "z1", "head": 2, "key": 0}, "takes no key=, got key=0"),
        ({"name": "zebra1"}, "unknown activation 'zebra'"),
    ],
)
def test_an_activation_that_is_no_single_number_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.activation(**arguments)
