"""The demo at a tiny size: what it prints and what it leaves."""

import itertools
import random

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from examples.ioi_demo import (
    FIRST,
    GIVER,
    NAMES,
    SECOND,
    draw,
    held_out_pairs,
    main,
    show_heads,
    word_tokenizer,
)
from headwatch.effects import Effects
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record, RecordWriter
from headwatch_callbacks.cli import app
from tests.headwatch_callbacks.training import QUIET

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


def commands(said):
    """The commands of headwatch that a text names, in words."""
    return [line[line.index("headwatch ") :].split() for line in said.splitlines() if "  headwatch " in line]


def test_the_demo_prints_what_it_found_and_where_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    main(steps=3, out=tmp_path, seed=0)
    said = capsys.readouterr().out
    assert "held-out logit difference" in said
    assert "L0H0" in said or "L1H" in said or "L2H" in said
    assert "The probes took" in said
    named = {words[1]: words[1:] for words in commands(said)}
    assert list(named) == ["serve", "top", "export"]
    for command in ("top", "export"):
        ended = CliRunner().invoke(app, named[command])
        assert ended.exit_code == 0, ended.output
    assert (tmp_path / "heads.csv").exists()
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_a_head_that_restores_almost_nothing_restores_0_per_cent(tmp_path):
    pairs = PromptPairs.from_pairs(
        held_out_pairs(random.Random(0), [("Mary", "John")], n=3), word_tokenizer()
    )
    ones, length = torch.ones(3), pairs.clean.shape[1]
    with RecordWriter(tmp_path, name="x", model={}) as writer:
        for probe, kind, corrupted in (("ablation", "mean", None), ("patching", "denoise", 0 * ones)):
            mean = torch.tensor([[[-0.001, 0.5]]]).expand(3, 1, 2)
            found = Effects(mean, ones, corrupted, ("layer", "head"), "z", kind, "logit_diff")
            writer.effects(1, 0, probe, probe, found, 0.0)
        maps = torch.eye(length).expand(3, 1, 2, length, length)
        writer.patterns(1, 0, "maps", maps, pairs.tokens)
    console = Console(record=True, width=200)
    show_heads(console, Record.read(tmp_path), pairs)
    by_head = {words[0]: words for words in map(str.split, console.export_text().splitlines()) if words}
    assert (by_head["L0H0"][4], by_head["L0H1"][4]) == ("0%", "50%")


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
