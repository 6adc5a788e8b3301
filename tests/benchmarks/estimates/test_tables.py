"""The tables that estimates are drawn from, at a tiny size: held-out prompts of one length, and exact effects."""

from collections import Counter

import pytest
import torch

from benchmarks.estimates.models import BATCH, accuracy, demo_material, gpt2, train
from benchmarks.estimates.prompts import LENGTH, TASKS, mixed_tasks
from benchmarks.estimates.tables import Table, tables
from tests.compare import effects_are
from tests.models import random_pairs, tiny_gpt2
from tests.reference.sweeps import sweep

PAIRS = random_pairs(n=4, length=6, shared=2)


def prompts(ids):
    return {tuple(row) for row in ids.tolist()}


def test_three_tasks_are_mixed_in_equal_shares_at_one_length():
    material = mixed_tasks(60, 12, seed=0)
    assert material.pairs.clean.shape == (12, LENGTH)
    assert material.sentences.shape[1] == LENGTH + 1
    assert Counter(material.pairs.tasks) == dict.fromkeys(TASKS, 4)
    assert int(max(material.sentences.max(), material.pairs.clean.max())) < material.vocabulary


@pytest.mark.parametrize("make", [lambda: mixed_tasks(3000, 600, seed=0), lambda: demo_material(40, 200)])
def test_no_held_out_prompt_is_trained_on(make):
    material = make()
    assert not prompts(material.sentences[:, :-1]) & prompts(material.pairs.clean)


def test_the_sentences_of_a_seed_are_the_same_and_of_another_seed_different():
    first, again, other = (mixed_tasks(30, 6, seed) for seed in (1, 1, 2))
    assert torch.equal(first.sentences, again.sentences)
    assert not prompts(first.pairs.clean) & prompts(other.pairs.clean)


def test_training_takes_each_batch_once_and_lowers_the_loss_of_what_it_shows():
    material = demo_material(30, 8)
    model = gpt2(1, 2, material.vocabulary)
    before = model(material.sentences, labels=material.sentences).loss
    assert list(train(model, material)) == list(range(1, 31))
    assert len(material.sentences) == 30 * BATCH
    assert model(material.sentences, labels=material.sentences).loss < before - 1


def test_accuracy_is_the_share_of_answers_above_their_foils_task_by_task():
    material = mixed_tasks(3, 9, seed=0)
    model = gpt2(1, 2, material.vocabulary).eval()
    found = accuracy(model, material.pairs)
    for task in TASKS:
        rows = [row for row, name in enumerate(material.pairs.tasks) if name == task]
        right = 0
        for row in rows:
            logits = model(material.pairs.clean[row : row + 1]).logits[0, -1]
            right += int(logits[material.pairs.answer[row]] > logits[material.pairs.foil[row]])
        assert found[task] == pytest.approx(right / len(rows))


@pytest.mark.parametrize("kind", ["mean", "denoise"])
def test_tables_hold_the_exact_effects_everywhere_and_at_the_answer(kind):
    model = tiny_gpt2()
    for table in tables(model, PAIRS, kind):
        effects_are(table.exact, sweep(model, PAIRS, "z", kind, table.metric))
        single = sweep(model, PAIRS, "z", kind, table.metric, by_position=True)
        effects_are(table.last, single[..., -1])
        assert table.attribution.shape == single.shape
        off = (table.bf16 - table.exact).abs()
        assert 0 < off.max() < 0.1 * table.exact.abs().max()


def test_some_rows_of_a_table_are_each_as_often_as_they_are_named():
    table = tables(tiny_gpt2(), PAIRS, "mean", ["loss"])[0]
    some = table[torch.tensor([2, 0, 2])]
    for name in ("exact", "last", "attribution", "bf16", "clean", "corrupted"):
        assert torch.equal(getattr(some, name)[2], getattr(table, name)[2])
        assert torch.equal(getattr(some, name)[1], getattr(table, name)[0])
    assert torch.equal(some.pairs.clean, PAIRS.clean[[2, 0, 2]])


def test_a_table_comes_back_from_its_file(tmp_path):
    table = tables(tiny_gpt2(), PAIRS, "denoise", ["loss"])[0]
    table.save(tmp_path / "table.pt")
    again = Table.load(tmp_path / "table.pt")
    assert (again.kind, again.metric) == ("denoise", "loss")
    assert again.pairs.pairs == PAIRS.pairs
    for name in ("exact", "last", "attribution", "bf16", "clean", "corrupted"):
        assert torch.equal(getattr(again, name), getattr(table, name))
