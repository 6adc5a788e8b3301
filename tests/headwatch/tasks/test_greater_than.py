import re

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from headwatch import metrics
from headwatch.tasks import greater_than
from tests.tokenizers import word_level

YEAR = re.compile(r"The \w+ lasted from the year (\d\d)(\d\d) to the year (\d\d)$")


def test_later_years_are_right_and_the_others_wrong(tokenizer: PreTrainedTokenizerFast) -> None:
    for pair in greater_than(tokenizer, n=200).pairs:
        clean, corrupted = YEAR.match(str(pair.clean)), YEAR.match(str(pair.corrupted))
        assert clean is not None
        assert corrupted is not None
        century, year, again = clean.groups()
        assert corrupted.groups() == (century, "01", again) == (again, "01", century)
        assert 11 <= int(century) <= 17
        assert 2 <= int(year) <= 98
        assert isinstance(pair.answer, tuple)
        assert isinstance(pair.foil, tuple)
        assert [int(answer) for answer in pair.answer] == list(range(int(year) + 1, 100))
        assert [int(foil) for foil in pair.foil] == list(range(int(year) + 1))


def test_prob_diff_is_one_where_all_probability_is_on_later_years(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = greater_than(tokenizer, n=4)
    assert pairs.metric == "prob_diff"
    ids = torch.tensor(tokenizer.convert_tokens_to_ids([f"{year:02d}" for year in range(100)]))
    years = torch.tensor([int(str(pair.clean).split()[6][2:]) for pair in pairs.pairs])
    later = torch.arange(100) > years[:, None]
    logits = torch.full((4, len(tokenizer)), -1e4)
    logits[:, ids] = torch.where(later, 0.0, -1e4)
    targets = metrics.Targets(
        pairs.answer, pairs.foil, pairs.clean, pairs.lengths, None, pairs.answer_set, pairs.foil_set
    )
    torch.testing.assert_close(metrics.get_metric("prob_diff")(logits, targets), torch.ones(4))
    logits[:, ids] = 0.0
    expected = (later.sum(1) - (~later).sum(1)) / 100
    torch.testing.assert_close(metrics.get_metric("prob_diff")(logits, targets), expected)


def test_years_that_are_one_token_are_dropped_as_are_missing_two_digit_ones(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    kept = [word for word in tokenizer.get_vocab() if word not in ("57", "12", "[UNK]")]
    vocabulary = {word: index for index, word in enumerate(["[UNK]", *kept, "1745"])}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    whole.pre_tokenizer = pre_tokenizers.Split(Regex(r"1745|\d\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
    pairs = greater_than(PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="[UNK]"), n=200)
    assert set(pairs.dropped_words) == {"57", "12", "1745"}
    assert not any(re.search(r"1745|57 to|year 12", str(pair.clean)) for pair in pairs.pairs)
    assert not any("57" in (*pair.answer, *pair.foil) for pair in pairs.pairs)  # type: ignore[misc]


def test_a_tokenizer_that_keeps_years_whole_is_refused() -> None:
    words = ["The", "war", "lasted", "from", "the", "year", "to", *(str(year) for year in range(1100, 1800))]
    vocabulary = {word: index for index, word in enumerate(["[UNK]", *words])}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match=r"greater_than needs at least \d .*dropped \d+: "):
        greater_than(PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="[UNK]"))


def test_a_tokenizer_without_the_corrupted_year_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    without = word_level(word for word in tokenizer.get_vocab() if word != "01")
    with pytest.raises(
        ValueError, match=r"needs at least 1 centuries with a year 01 .* dropped 7: 11, 12, 13"
    ):
        greater_than(without)
