import re
from collections import Counter

from transformers import PreTrainedTokenizerFast

from headwatch.tasks import gendered_pronoun

KNOWN = {
    "John": " he", "Peter": " he", "Evan": " he", "Robert": " he", "Mary": " she", "Emily": " she", "Alice": " she",
    "Susan": " she",
}  # fmt: skip


def test_the_answer_agrees_with_the_clean_name_and_the_foil_with_the_other(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    seen = set()
    for pair in gendered_pronoun(tokenizer, n=600).pairs:
        for prompt, pronoun in ((pair.clean, pair.answer), (pair.corrupted, pair.foil)):
            match = re.fullmatch(r"So (\w+) is such a \w+ \w+, isn't", str(prompt))
            assert match is not None
            if match[1] in KNOWN:
                assert pronoun == KNOWN[match[1]]
                seen.add(match[1])
        assert {pair.answer, pair.foil} == {" he", " she"}
    assert seen == set(KNOWN)


def test_only_the_name_is_exchanged_and_genders_are_balanced(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = gendered_pronoun(tokenizer, n=100)
    assert Counter(pair.answer for pair in pairs.pairs) == {" he": 50, " she": 50}
    assert (pairs.clean != pairs.corrupted).sum(1).tolist() == [1] * 100
    assert pairs.first_difference.tolist() == [1] * 100
