"""Pairs that can be used and say less than they seem to; each doubt alone, and none where there is nothing to doubt."""

import pytest

from headwatch.prompts.doubts import doubts
from headwatch.prompts.jsonl import PromptPair, write_pair_file
from headwatch.prompts.pairs import PromptPairs
from tests.tokenizers import word_level

NAMES = ["Mary", "Ann", "John", "Tom", "Eve"]
WORDS = word_level([*NAMES, "met", "and", "him", "her"])


def pair(one, other, answer, foil, word="and"):
    return PromptPair(f"{one} {word} {other}", f"{other} {word} {one}", answer, foil)


GOOD = [
    pair("Mary", "Ann", "Mary", "Ann"),
    pair("John", "Tom", "Tom", "John"),
    pair("Eve", "Ann", "Ann", "Eve"),
    pair("Tom", "Eve", "Tom", "Eve"),
]


def doubted(pairs, tmp_path):
    write_pair_file(tmp_path / "pairs.jsonl", pairs)
    return doubts(PromptPairs.from_jsonl(tmp_path / "pairs.jsonl", WORDS))


def test_good_pairs_are_not_doubted(tmp_path):
    assert doubted(GOOD, tmp_path) == []


def test_a_prompt_that_is_not_corrupted(tmp_path):
    same = PromptPair("Mary met Tom", "Mary met Tom", "him", "her")
    [doubt] = doubted([*GOOD, same], tmp_path)
    assert doubt == "line 5: clean and corrupted are the same prompt, so that patching changes nothing"


def test_prompts_that_come_again(tmp_path):
    [doubt] = doubted([*GOOD, *GOOD, GOOD[0]], tmp_path)
    assert doubt.startswith(
        "lines 5, 6, 7 and 2 more: the clean prompt was there before (4 of 9 are distinct), and"
    )


def test_a_prompt_that_ends_in_a_space(tmp_path):
    spaced = PromptPair("Mary met Eve ", "Eve met Mary ", "him", "her")
    [doubt] = doubted([*GOOD, spaced], tmp_path)
    assert doubt.startswith("line 5: the prompt ends in a space")
    [doubt] = doubted([*GOOD, PromptPair("Mary met Eve", "Eve met Mary\n", "him", "her")], tmp_path)
    assert doubt.startswith("line 5: the prompt ends in a space")


def test_one_answer_for_all(tmp_path):
    alike = [pair(one, "met", "him", "her") for one in ("Mary", "Ann", "John", "Tom")]
    assert doubted(alike, tmp_path) == [
        "all answers are 'him': what a model does for that token whatever the prompt looks like the task"
    ]
    assert doubted(alike[:3], tmp_path) == []


@pytest.mark.parametrize(("swap", "first"), [(False, "answer"), (True, "foil")])
def test_an_answer_that_always_stands_first(tmp_path, swap, first):
    people = [("Mary", "Ann"), ("John", "Tom"), ("Eve", "Ann"), ("Tom", "Eve")]
    pairs = [pair(a, b, b, a) if swap else pair(a, b, a, b) for a, b in people]
    [doubt] = doubted(pairs, tmp_path)
    assert doubt.startswith(f"the {first} stands before the ")
    assert "in each of the 4 clean prompts that have both" in doubt
    elsewhere = PromptPair("met and him", "him and met", "Mary", "Ann")
    assert len(doubted([*pairs, elsewhere], tmp_path)) == 1
    assert doubted([*pairs[:3], elsewhere], tmp_path) == []


def test_token_ids_are_doubted_alike():
    rows = [PromptPair((1, 2, 3), (1, 4, 3), 2, 3), PromptPair((1, 2, 3), (1, 2, 3), 2, 3)]
    found = doubts(PromptPairs.from_pairs(rows, None))
    assert [doubt.partition(":")[0] for doubt in found] == ["pair 1", "pair 1"]
