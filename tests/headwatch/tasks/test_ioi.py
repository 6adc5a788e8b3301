import re
from collections import Counter

import pytest
from transformers import PreTrainedTokenizerFast

from headwatch.prompts.pairs import PromptPair
from headwatch.tasks import ioi
from tests.tokenizers import byte_level, word_level


def names_in(prompt: str) -> list[str]:
    """The capitalised words after the first one, in order."""
    return re.findall(r"[A-Z]\w+", prompt)[1:]


def test_the_answer_is_the_name_that_is_mentioned_once(tokenizer: PreTrainedTokenizerFast) -> None:
    for pair in ioi(tokenizer, n=300).pairs:
        assert isinstance(pair.clean, str)
        assert isinstance(pair.corrupted, str)
        for prompt, once, twice in (
            (pair.clean, pair.answer, pair.foil),
            (pair.corrupted, pair.foil, pair.answer),
        ):
            assert Counter(names_in(prompt)) == {str(once).strip(): 1, str(twice).strip(): 2}
        assert str(pair.answer).startswith(" ")
        assert str(pair.foil).startswith(" ")


def test_only_the_givers_second_mention_is_exchanged(tokenizer: PreTrainedTokenizerFast) -> None:
    for clean, corrupted in zip(*texts(tokenizer), strict=True):
        changed = [(a, b) for a, b in zip(clean.split(), corrupted.split(), strict=True) if a != b]
        assert changed == [(names_in(clean)[2], names_in(corrupted)[2])]


def test_half_of_the_prompts_name_the_giver_second_and_half_first(tokenizer: PreTrainedTokenizerFast) -> None:
    orders = Counter(names_in(clean).index(names_in(clean)[2]) for clean in texts(tokenizer)[0])
    assert orders == {0: 50, 1: 50}


def test_many_templates_names_places_and_gifts(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = [pair.clean for pair in ioi(tokenizer, n=600).pairs]
    assert len({name for prompt in prompts for name in names_in(str(prompt))}) >= 100
    assert len({str(prompt).split()[-2] for prompt in prompts}) >= 25
    assert len({str(prompt).split()[0] for prompt in prompts}) >= 6


def test_names_that_a_byte_level_tokenizer_splits_are_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    kept = [
        pair for pair in ioi(tokenizer, n=400).pairs if "Ashley" not in str(pair) and "Kyle" not in str(pair)
    ]
    bytes_ = byte_level([f"{pair.clean}{pair.answer}" for pair in kept] * 3, vocab_size=1_200)
    pairs = ioi(bytes_, n=50)
    assert len(bytes_.tokenize(" Ashley")) > 1
    assert {"Ashley", "Kyle"} <= set(pairs.dropped_words)
    assert pairs.dropped == len(pairs.dropped_words) < 60
    for pair in pairs.pairs:
        assert all(len(bytes_.tokenize(f" {name}")) == 1 for name in names_in(str(pair.clean)))
    assert all(len(bytes_.tokenize(f" {word}")) > 1 for word in pairs.dropped_words)


def test_templates_with_words_outside_the_vocabulary_are_dropped() -> None:
    words = ["When", "and", "went", "to", "the", ",", "gave", "a", "Mary", "John", "store", "ring"]
    pairs = ioi(word_level(words), n=4)
    assert set(pairs.pairs) >= {
        PromptPair(
            "When Mary and John went to the store, John gave a ring to",
            "When Mary and John went to the store, Mary gave a ring to",
            " Mary",
            " John",
            "ioi",
        )
    }
    assert sum(" and " in word for word in pairs.dropped_words) == 7


def test_one_name_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"ioi needs at least 2 names .* 1 of \d+ are; dropped \d+: "):
        ioi(word_level(["Mary"]))


def texts(tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
    pairs = ioi(tokenizer, n=100).pairs
    return [str(pair.clean) for pair in pairs], [str(pair.corrupted) for pair in pairs]
