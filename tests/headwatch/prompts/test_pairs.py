from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwatch.prompts.pairs import PromptPair, PromptPairs
from tests.tokenizers import byte_level, word_level

WORDS = word_level(["When", "Mary", "Ann", "John", "met", ",", "gave", "it", "to", "him"])
SHORT = PromptPair("Mary met", "John met", "John", "Mary", "short")
LONG = PromptPair("When Mary gave it", "When John gave it", "to", "him", "long")
SETS = PromptPair("Mary gave", "John gave", ("it", "him", "John"), ("Mary",))
LINES = (
    '{"clean": "Mary met", "corrupted": "John met", "answer": "John", "foil": "Mary", "task": "short"}\n'
    '{"clean": "When Mary gave it", "corrupted": "When John gave it", "answer": "to", "foil": "him", "task": "long"}\n'
)


@dataclass
class Limits:
    d_vocab: int = 11
    n_positions: int = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text(LINES)
    return path


@pytest.fixture
def pairs(path: Path) -> PromptPairs:
    return PromptPairs.from_jsonl(path, WORDS)


def test_prompts_of_unequal_length_are_padded_on_the_right(pairs: PromptPairs, path: Path) -> None:
    assert pairs.clean.tolist() == [[2, 5, 0, 0], [1, 2, 7, 8]]
    assert pairs.corrupted.tolist() == [[4, 5, 0, 0], [1, 4, 7, 8]]
    assert pairs.lengths.tolist() == [2, 4]
    assert pairs.position.tolist() == [1, 3]
    assert pairs.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert pairs.attention_mask.dtype == pairs.clean.dtype == torch.long
    assert pairs.first_difference.tolist() == [0, 1]
    assert pairs.answer.tolist() == [4, 9]
    assert pairs.foil.tolist() == [2, 10]
    assert pairs.tokens == (("Mary", "met"), ("When", "Mary", "gave", "it"))
    assert pairs.corrupted_tokens == (("John", "met"), ("When", "John", "gave", "it"))
    assert pairs.tasks == ("short", "long")
    assert pairs.origins == (f"{path}:1", f"{path}:2")
    assert not pairs.one_length


def test_the_three_ways_in_agree(pairs: PromptPairs) -> None:
    from_text = PromptPairs.from_pairs([SHORT, LONG], WORDS)
    from_ids = PromptPairs.from_tokens(
        torch.tensor([[2, 5, -1, -1], [1, 2, 7, 8]]),
        torch.tensor([[4, 5, -1, -1], [1, 4, 7, 8]]),
        torch.tensor([4, 9]),
        torch.tensor([2, 10]),
        lengths=torch.tensor([2, 4]),
        tokenizer=WORDS,
    )
    for other in (from_text, from_ids):
        for name in ("clean", "corrupted", "lengths", "answer", "foil", "position"):
            assert torch.equal(getattr(pairs, name), getattr(other, name)), name
        assert (pairs.tokens, pairs.corrupted_tokens) == (other.tokens, other.corrupted_tokens)


def test_token_ids_are_shown_where_there_is_no_tokenizer() -> None:
    row = torch.tensor([[3, 1, 2]])
    pairs = PromptPairs.from_tokens(row, row, torch.tensor([1]), torch.tensor([2]), position=0)
    assert pairs.tokens == (("3", "1", "2"),)
    assert pairs.position.tolist() == [0]
    assert pairs.first_difference.tolist() == [3]


def test_a_file_of_token_ids_needs_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "ids.jsonl"
    path.write_text('{"clean": [3, 1], "corrupted": [3, 2], "answer": 5, "foil": [6, 7], "position": 0}')
    pairs = PromptPairs.from_jsonl(path, None)
    assert (pairs.clean.tolist(), pairs.position.tolist()) == ([[3, 1]], [0])


def test_a_file_of_text_needs_a_tokenizer(path: Path) -> None:
    with pytest.raises(ValueError, match=r"pairs.jsonl:1: clean: text needs a tokenizer"):
        PromptPairs.from_jsonl(path, None)


def test_a_tokenizer_may_be_a_folder(path: Path, tmp_path: Path, pairs: PromptPairs) -> None:
    WORDS.save_pretrained(tmp_path / "tokenizer")
    assert torch.equal(PromptPairs.from_jsonl(path, str(tmp_path / "tokenizer")).clean, pairs.clean)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no prompt pairs were given"):
        PromptPairs.from_pairs([], WORDS)


def test_sets_of_answers_are_padded_and_change_the_metric(pairs: PromptPairs) -> None:
    sets = PromptPairs.from_pairs([SETS, SHORT], WORDS)
    assert sets.answer_set is not None
    assert sets.foil_set is not None
    assert sets.answer_set.tolist() == [[8, 10, 4], [4, -1, -1]]
    assert sets.foil_set.tolist() == [[2], [2]]
    assert (sets.answer.tolist(), sets.foil.tolist()) == ([8, 4], [2, 2])
    assert sets.metric == "prob_diff"
    assert (pairs.metric, pairs.answer_set, pairs.foil_set) == ("logit_diff", None, None)
    assert sets[1:].metric == "prob_diff"


def test_misaligned_pairs_are_an_error_or_are_counted(path: Path) -> None:
    path.write_text(LINES + LINES.replace("Mary met", "Mary Ann met"))
    with pytest.raises(ValueError, match=r"pairs.jsonl:3: the prompts must have the same number of tokens"):
        PromptPairs.from_jsonl(path, WORDS)
    pairs = PromptPairs.from_jsonl(path, WORDS, skip_misaligned=True)
    assert (len(pairs), pairs.dropped) == (3, 1)
    assert [origin[-1] for origin in pairs.origins] == ["1", "2", "4"]


def test_a_prompt_longer_than_the_context_is_an_error_while_reading(path: Path) -> None:
    assert len(PromptPairs.from_jsonl(path, WORDS, n_positions=4)) == 2
    with pytest.raises(
        ValueError, match=r"pairs.jsonl:2: the prompt has 4 tokens, and the model's context holds 3"
    ):
        PromptPairs.from_jsonl(path, WORDS, n_positions=3)


def test_check_names_file_and_line_of_what_a_model_cannot_run(pairs: PromptPairs) -> None:
    pairs.check(Limits())
    with pytest.raises(
        ValueError, match=r"pairs.jsonl:2: the prompt has 4 tokens, and the model's context holds 3"
    ):
        pairs.check(Limits(n_positions=3))
    with pytest.raises(
        ValueError, match=r"pairs.jsonl:2: foil has the token id 10, outside .* vocabulary of 10"
    ):
        pairs.check(Limits(d_vocab=10))
    with pytest.raises(ValueError, match=r"pairs.jsonl:1: clean has the token id 5, outside"):
        pairs[:1].check(Limits(d_vocab=5))
    with pytest.raises(ValueError, match=r"pair 0: answer_set has the token id 10"):
        PromptPairs.from_pairs([SETS], WORDS).check(Limits(d_vocab=10))


def test_by_length_splits_without_padding(pairs: PromptPairs) -> None:
    parts = PromptPairs.from_pairs([LONG, SHORT, LONG], WORDS).by_length()
    assert list(parts) == [2, 4]
    assert [len(part) for part in parts.values()] == [1, 2]
    assert all(part.one_length and part.clean.shape[1] == length for length, part in parts.items())
    assert parts[2].tokens == (("Mary", "met"),)


def test_picking_pairs_picks_everything_that_belongs_to_them(pairs: PromptPairs) -> None:
    three = PromptPairs.from_pairs([LONG, SHORT, SETS], WORDS)
    for index in (slice(1, None), [1, 2], [-2, -1], torch.tensor([1, 2]), torch.tensor([False, True, True])):
        picked = three[index]
        assert picked.clean.tolist() == [[2, 5], [2, 7]]
        assert picked.pairs == (SHORT, SETS)
        assert picked.origins == ("pair 1", "pair 2")
        assert picked.tokens == three.tokens[1:]
        assert picked.answer_set is not None
        assert picked.answer_set.tolist() == [[4, -1, -1], [8, 10, 4]]
    assert three[-1].pairs == (SETS,)
    assert [pair.pairs[0] for pair in three] == [LONG, SHORT, SETS]


@pytest.mark.parametrize("index", [2, -3, [0, 2], torch.tensor([-3])])
def test_an_index_out_of_range_is_refused(index: int, pairs: PromptPairs) -> None:
    with pytest.raises(IndexError, match="out of range: there are 2 pairs"):
        pairs[index]


@pytest.mark.parametrize("index", [slice(2, None), [], torch.tensor([False, False])])
def test_an_index_that_picks_nothing_is_refused(index: slice, pairs: PromptPairs) -> None:
    with pytest.raises(IndexError, match="picks none of the 2 pairs"):
        pairs[index]


def test_to_moves_every_tensor() -> None:
    sets = PromptPairs.from_pairs([SETS, SHORT], WORDS).to("meta")
    for name in ("clean", "corrupted", "lengths", "answer", "foil", "position", "answer_set", "foil_set"):
        assert getattr(sets, name).device.type == "meta", name
    assert sets.pairs == (SETS, SHORT)


@given(sources=st.lists(st.sampled_from([SHORT, LONG, SETS]), min_size=1, max_size=8))
def test_a_written_file_reads_back_to_the_same_pairs(
    sources: list[PromptPair], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    pairs = PromptPairs.from_pairs(sources, WORDS)
    pairs.to_jsonl(path)
    again = PromptPairs.from_jsonl(path, WORDS)
    assert (again.pairs, again.tokens, again.metric) == (pairs.pairs, pairs.tokens, pairs.metric)
    assert torch.equal(again.clean, pairs.clean)


def test_pairs_made_of_ids_are_written_as_ids(tmp_path: Path) -> None:
    row = torch.tensor([[3, 1, 2]])
    pairs = PromptPairs.from_tokens(row, row + 1, torch.tensor([1]), torch.tensor([2]), position=1)
    pairs.to_jsonl(tmp_path / "ids.jsonl")
    again = PromptPairs.from_jsonl(tmp_path / "ids.jsonl", None)
    assert (again.clean.tolist(), again.corrupted.tolist()) == (row.tolist(), (row + 1).tolist())
    assert (again.answer.tolist(), again.foil.tolist(), again.position.tolist()) == ([1], [2], [1])


def test_a_byte_level_tokenizer_shows_the_misalignment_it_makes() -> None:
    bytes_ = byte_level(["Mary and John met Mary", "John and Mary gave it to him"] * 5, vocab_size=330)
    pairs = PromptPairs.from_pairs(
        [PromptPair("Ann and Mary met", "Ann and John met", " John", " Mary")], bytes_
    )
    assert pairs.tokens[0][-3:] == (" and", " Mary", " met")
    with pytest.raises(
        ValueError, match=r"clean has 9, .*' and', ' ', 'B', 'o', 'b', ' met'.* corrupted has 6"
    ):
        PromptPairs.from_pairs([PromptPair("Ann and Bob met", "Ann and John met", " John", " Mary")], bytes_)


def test_repr_says_how_many_and_how_long(pairs: PromptPairs) -> None:
    assert repr(pairs) == "PromptPairs(2 pairs of up to 4 tokens, metric 'logit_diff')"
