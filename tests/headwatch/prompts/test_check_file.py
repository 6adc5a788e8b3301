from pathlib import Path

import pytest

from headwatch.prompts.check_file import PairProblem, check_pair_file
from headwatch.prompts.pairs import PromptPairs
from tests.tokenizers import word_level

WORDS = word_level(["Mary", "Ann", "John", "met", "him"])
GOOD = '{"clean": "Mary met", "corrupted": "John met", "answer": "John", "foil": "Mary"}'
BAD = '{"clean": "Mary Ann met", "corrupted": "John met", "answer": "John", "foil": "Mary"}'


def test_every_line_that_from_jsonl_would_refuse_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join([GOOD, BAD, "", "{", GOOD, BAD.replace("John met", "Zoe met him")]))
    problems = check_pair_file(path, WORDS)
    assert [problem.line for problem in problems] == [2, 4, 6]
    assert "same number of tokens" in problems[0].message
    assert "not JSON" in problems[1].message
    assert "'Zoe met him' holds a token outside" in problems[2].message
    path.write_text("\n".join([GOOD, BAD]))
    with pytest.raises(ValueError, match=r"pairs.jsonl:2: ") as raised:
        PromptPairs.from_jsonl(path, WORDS)
    assert str(raised.value).endswith(problems[0].message)


def test_a_good_file_has_no_problems_until_the_model_is_too_small(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(GOOD)
    assert check_pair_file(path, WORDS, n_positions=2, d_vocab=6) == []
    assert check_pair_file(path, WORDS, n_positions=1)[0].message.endswith("the model's context holds 1")
    assert check_pair_file(path, WORDS, d_vocab=4) == [
        PairProblem(1, "token id 4 is outside the model's vocabulary of 4")
    ]
