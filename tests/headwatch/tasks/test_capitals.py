from transformers import PreTrainedTokenizerFast

from headwatch.tasks import capitals
from tests.tokenizers import word_level

KNOWN = {"France": " Paris", "Japan": " Tokyo", "Peru": " Lima", "Egypt": " Cairo", "Norway": " Oslo"}


def test_the_answer_is_the_clean_countrys_capital_and_the_foil_the_others(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    seen = set()
    for pair in capitals(tokenizer, n=400).pairs:
        assert pair.answer != pair.foil
        for prompt, capital in ((pair.clean, pair.answer), (pair.corrupted, pair.foil)):
            for country in KNOWN.keys() & set(str(prompt).split()):
                assert capital == KNOWN[country]
                seen.add(country)
    assert seen == set(KNOWN)


def test_only_the_country_is_exchanged(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = capitals(tokenizer, n=100)
    assert (pairs.clean != pairs.corrupted).sum(1).tolist() == [1] * 100


def test_a_country_goes_where_its_capital_is_not_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = capitals(word_level(word for word in tokenizer.get_vocab() if word != "Paris"), n=500)
    assert pairs.dropped_words == ("France/Paris",)
    assert not any("France" in tokens for tokens in (*pairs.tokens, *pairs.corrupted_tokens))
