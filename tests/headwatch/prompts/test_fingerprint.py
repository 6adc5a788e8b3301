"""A fingerprint tells any two sets of pairs apart on which an effect may differ, and nothing else."""

from dataclasses import replace

import pytest
import torch

from headwatch.prompts.fingerprint import fingerprint
from headwatch.prompts.pairs import PromptPairs


@pytest.fixture
def pairs():
    clean = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    corrupted = torch.tensor([[1, 9, 3, 0], [4, 9, 6, 7]])
    return PromptPairs.from_tokens(
        clean, corrupted, torch.tensor([1, 2]), torch.tensor([3, 4]), lengths=torch.tensor([3, 4])
    )


def test_padding_and_the_text_of_tokens_play_no_part(pairs):
    wider = {
        name: torch.cat([getattr(pairs, name), torch.full((2, 3), 5)], 1) for name in ("clean", "corrupted")
    }
    renamed = tuple(("x",) * len(row) for row in pairs.tokens)
    assert fingerprint(replace(pairs, **wider, tokens=renamed)) == fingerprint(pairs)


def test_sets_of_one_answer_are_single_answers(pairs):
    sets = {
        "answer_set": torch.stack([pairs.answer, torch.full((2,), -1)], 1),
        "foil_set": pairs.foil[:, None],
    }
    assert fingerprint(replace(pairs, **sets)) == fingerprint(pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {"clean": torch.tensor([[1, 2, 8, 0], [4, 5, 6, 7]])},
        {"corrupted": torch.tensor([[1, 9, 3, 0], [4, 8, 6, 7]])},
        {"lengths": torch.tensor([4, 4])},
        {"answer": torch.tensor([1, 3])},
        {"foil": torch.tensor([3, 5])},
        {"position": torch.tensor([1, 3])},
        {"answer_set": torch.tensor([[1, 5], [2, -1]])},
        {"foil_set": torch.tensor([[3, 5], [4, -1]])},
    ],
)
def test_each_thing_that_an_effect_depends_on_does(pairs, changes):
    assert fingerprint(replace(pairs, **changes)) != fingerprint(pairs)


def test_so_does_the_order(pairs):
    assert fingerprint(pairs[[1, 0]]) != fingerprint(pairs)
