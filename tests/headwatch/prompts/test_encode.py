import logging

import pytest

from headwatch.prompts.encode import MisalignedError, PairEncoder, encode_pairs, pad
from headwatch.prompts.jsonl import PromptPair
from tests.tokenizers import byte_level, word_level

WORDS = word_level(["When", "Mary", "Ann", "and", "John", "met", ",", "gave", "it", "to", "him"])
SENTENCES = ["When Mary and John met, John gave it to Mary", "MaryMary JohnJohn"]
BYTES = byte_level(SENTENCES * 5, vocab_size=330)


def test_a_pair_becomes_ids_in_the_order_of_its_words() -> None:
    pair = PromptPair("Mary gave it to", "John gave it to", " John", ("him", 2), position=2)
    encoded = PairEncoder(WORDS).encode(pair, "here")
    assert (encoded.clean, encoded.corrupted) == ((2, 8, 9, 10), (5, 8, 9, 10))
    assert (encoded.answers, encoded.foils) == ((5,), (11, 2))
    assert (encoded.position, encoded.origin, encoded.source) == (2, "here", pair)


def test_token_ids_need_no_tokenizer() -> None:
    encoded = PairEncoder(None).encode(PromptPair((5, 6, 7), (5, 9, 7), 1, (2, 3)))
    assert (encoded.clean, encoded.answers, encoded.foils, encoded.position) == ((5, 6, 7), (1,), (2, 3), 2)


def test_misaligned_prompts_show_both_token_lists() -> None:
    pair = PromptPair("Mary Ann met", "John met", "John", "Mary")
    with pytest.raises(
        MisalignedError, match=r"clean has 3, \['Mary', 'Ann', 'met'\], .* has 2, \['John', 'met'\]"
    ):
        PairEncoder(WORDS).encode(pair)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (PromptPair("", "met", "John", "Mary"), "clean: the prompt is empty"),
        (PromptPair("met", " ", "John", "Mary"), "corrupted: the prompt is empty"),
        (PromptPair("Zoe met", "John met", "John", "Mary"), "clean: 'Zoe met' holds a token outside"),
        (PromptPair("Mary met", "John met", "Zoe", "Mary"), "answer: 'Zoe' holds a token outside"),
        (
            PromptPair("Mary met", "John met", "Mary Ann", "Mary"),
            r"answer: 'Mary Ann' is 2 tokens, \['Mary', 'Ann'\]",
        ),
        (PromptPair("Mary met", "John met", "John", ("Mary", "gave it")), "foil: 'gave it' is 2 tokens"),
        (PromptPair("Mary met", "John met", " John", "John"), "answer ' John' and foil 'John' share a token"),
        (PromptPair("Mary met", "John met", ("Ann", "him"), ("it", "him")), "share a token"),
        (
            PromptPair("Mary met", "John met", "John", "Mary", position=2),
            "position 2 is outside the prompt's 2 tokens",
        ),
        (
            PromptPair("Mary met him , him", "John met him , him", 1, 2),
            "has 5 tokens, and the model's context holds 4",
        ),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused(pair: PromptPair, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairEncoder(WORDS, n_positions=4).encode(pair)


@pytest.mark.parametrize(
    "pair", [PromptPair("a", (1,), 2, 3), PromptPair((1,), "a", 2, 3), PromptPair((1,), (2,), "a", 3)]
)
def test_text_without_a_tokenizer_is_refused(pair: PromptPair) -> None:
    with pytest.raises(ValueError, match=r"text needs a tokenizer, and there is none: give tokenizer="):
        PairEncoder(None).encode(pair)


def test_misaligned_pairs_are_counted_and_the_others_kept(caplog: pytest.LogCaptureFixture) -> None:
    good = PromptPair("Mary met", "John met", "John", "Mary")
    bad = PromptPair("Mary Ann met", "John met", "John", "Mary")
    with caplog.at_level(logging.INFO):
        encoded, left_out = encode_pairs(
            [("a", bad), ("b", good), ("c", bad)], PairEncoder(WORDS), skip_misaligned=True
        )
    assert ([pair.origin for pair in encoded], left_out) == (["b"], 2)
    assert "left out 2 misaligned pairs of 3" in caplog.text
    with pytest.raises(ValueError, match=r"^c: the prompts must have the same number of tokens"):
        encode_pairs([("b", good), ("c", bad)], PairEncoder(WORDS))
    with pytest.raises(ValueError, match="no prompt pair is left: all 2 are misaligned"):
        encode_pairs([("a", bad), ("c", bad)], PairEncoder(WORDS), skip_misaligned=True)


def test_skipping_misaligned_pairs_skips_nothing_else() -> None:
    with pytest.raises(ValueError, match=r"^a: answer: 'Zoe' holds a token outside"):
        encode_pairs(
            [("a", PromptPair("Mary met", "John met", "Zoe", "Mary"))],
            PairEncoder(WORDS),
            skip_misaligned=True,
        )


@pytest.mark.parametrize(("answer", "warned"), [("Mary", True), (" Mary", False)])
def test_an_answer_that_lost_its_space_is_pointed_out(
    answer: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(BYTES.tokenize("Mary")) == len(BYTES.tokenize(" Mary")) == 1
    pair = PromptPair("John gave it to", "Mary gave it to", answer, " John")
    encode_pairs([("pairs.jsonl:3", pair)], PairEncoder(BYTES))
    assert ("pairs.jsonl:3: the answer 'Mary' follows a word without a space" in caplog.text) == warned
    assert ("' Mary' is another token" in caplog.text) == warned


def test_pad_fills_up_on_the_right() -> None:
    assert pad([(1, 2), (3,), (4, 5, 6)], -1).tolist() == [[1, 2, -1], [3, -1, -1], [4, 5, 6]]
