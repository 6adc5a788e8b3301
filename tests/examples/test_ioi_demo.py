"""The demo at a tiny size: what it prints and what it leaves."""

import itertools
import random

import pytest

from examples.ioi_demo import FIRST, GIVER, NAMES, SECOND, draw, held_out_pairs, main, word_tokenizer
from headwatch.prompts.pairs import PromptPairs
from tests.headwatch_callbacks.training import QUIET

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


def test_the_demo_prints_what_it_found_and_where_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    main(steps=3, out=tmp_path, seed=0)
    said = capsys.readouterr().out
    assert "held-out logit difference" in said
    assert "L0H0" in said or "L1H" in said or "L2H" in said
    assert "The probes took" in said
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_names_stand_where_the_demo_says():
    sentence = draw(random.Random(3), ("Mary", "John"))
    words = sentence.prompt(sentence.giver).split()
    assert {words[FIRST], words[SECOND]} == {"Mary", "John"}
    assert words[GIVER] == sentence.giver


def test_held_out_pairs_are_of_one_length_and_differ_in_one_word():
    people = list(itertools.combinations(NAMES, 2))
    pairs = PromptPairs.from_pairs(held_out_pairs(random.Random(0), people), word_tokenizer())
    assert pairs.one_length
    assert ((pairs.clean != pairs.corrupted).sum(1) == 1).all()
    assert (pairs.first_difference == GIVER).all()
