"""A fingerprint tells any two pairs apart on which an effect may differ, and nothing else."""

from dataclasses import replace

import pytest
import torch

from headwatch.prompts.fingerprint import fingerprints
from headwatch.prompts.pairs import PromptPairs


@pytest.fixture
def pairs():
    clean = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    corrupted = torch.tensor([[1, 9, 3, 0], [4, 9, 6, 7]])
    return PromptPairs.from_tokens(
        clean, corrupted, torch.tensor([1, 2]), torch.tensor([3, 4]), lengths=torch.tensor([3, 4])
    )


def prints(pairs):
    return fingerprints(pairs).tolist()


def test_padding_and_the_text_of_tokens_play_no_part(pairs):
    wider = {
        name: torch.cat([getattr(pairs, name), torch.full((2, 3), 5)], 1) for name in ("clean", "corrupted")
    }
    renamed = tuple(("x",) * len(row) for row in pairs.tokens)
    assert prints(replace(pairs, **wider, tokens=renamed)) == prints(pairs)


def test_sets_of_one_answer_are_single_answers(pairs):
    sets = {
        "answer_set": torch.stack([pairs.answer, torch.full((2,), -1)], 1),
        "foil_set": pairs.foil[:, None],
    }
    assert prints(replace(pairs, **sets)) == prints(pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {"clean": torch.tensor([[1, 2, 8, 0], [4, 5, 6, 7]])},
        {"corrupted": torch.tensor([[1, 8, 3, 0], [4, 9, 6, 7]])},
        {"lengths": torch.tensor([4, 4])},
        {"answer": torch.tensor([3, 2])},
        {"foil": torch.tensor([5, 4])},
        {"position": torch.tensor([1, 3])},
        {"answer_set": torch.tensor([[1, 5], [2, -1]])},
        {"foil_set": torch.tensor([[3, 5], [4, -1]])},
    ],
)
def test_each_thing_that_an_effect_depends_on_does(pairs, changes):
    """Each of these changes the first pair and not the second."""
    changed, before = prints(replace(pairs, **changes)), prints(pairs)
    assert changed[0] != before[0]
    assert changed[1] == before[1]


def test_a_pair_keeps_its_own_wherever_it_stands(pairs):
    first, second = prints(pairs)
    assert prints(pairs[[1, 0]]) == [second, first]
    assert prints(pairs[[1]]) == [second]


def test_a_pair_that_is_there_twice_has_two(pairs):
    first, second = prints(pairs)
    again = prints(pairs[[0, 1, 0]])
    assert again[:2] == [first, second]
    assert len(set(again)) == 3
