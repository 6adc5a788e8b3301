from collections import Counter

from transformers import PreTrainedTokenizerFast

from headwatch.tasks import subject_verb
from tests.tokenizers import word_level

PLURAL = {" is": " are", " was": " were", " has": " have"}


def test_the_answer_agrees_with_the_clean_subject(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = subject_verb(tokenizer, n=600).pairs
    for pair in pairs:
        subject, other_number = str(pair.clean).split()[1], str(pair.corrupted).split()[1]
        if subject.endswith("s"):
            assert (other_number, pair.answer) == (subject[:-1], PLURAL[str(pair.foil)])
        else:
            assert (other_number, pair.foil) == (f"{subject}s", PLURAL[str(pair.answer)])
    assert {pair.answer for pair in pairs} == {*PLURAL, *PLURAL.values()}


def test_numbers_are_balanced_and_the_noun_in_between_has_either(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = subject_verb(tokenizer, n=400)
    numbers = Counter((tokens[1][-1] == "s", tokens[4][-1] == "s") for tokens in pairs.tokens)
    assert numbers[False, False] + numbers[False, True] == 200
    assert min(numbers.values()) > 70
    assert all(tokens[1].removesuffix("s") != tokens[4].removesuffix("s") for tokens in pairs.tokens)
    assert pairs.first_difference.tolist() == [1] * 400
    assert (pairs.clean != pairs.corrupted).sum(1).tolist() == [1] * 400


def test_a_noun_goes_where_its_plural_is_not_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = subject_verb(word_level(word for word in tokenizer.get_vocab() if word != "keys"), n=100)
    assert pairs.dropped_words == ("key/keys",)
