"""A year that is later than another."""

from random import Random

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike, single_token
from headwatch.tasks.builder import TaskBuilder
from headwatch.tasks.registry import TASKS
from headwatch.tasks.words import split_words

_TEMPLATE = "The {noun} lasted from the year {century}{year} to the year {century}"
_CENTURIES = [f"{century}" for century in range(11, 18)]
_YEARS = [f"{year:02d}" for year in range(100)]
_CORRUPTED_YEAR = "01"
_NOUNS = split_words(
    "accord affair agreement assessment attack campaign case challenge chaos collaboration competition confrontation "
    "conspiracy construction contract convention cooperation deal decline demonstrations development dispute dynasty "
    "effort employment engagement epidemic evaluation exchange expansion expedition experiments fall flights "
    "friendship growth illness imprisonment improvement increase invasion investigation journey kingdom marriage "
    "negotiations operation outbreak overhaul plague plan practice process program progress project pursuit quest "
    "raids reforms reign relationship riot rise rivalry romance rule sanctions shift siege strikes struggle study test "
    "therapy tour tradition treaty trial trip unemployment voyage war warfare work"
)


@TASKS.register("greater_than")
def greater_than(tokenizer: TokenizerLike, n: int = 64, seed: int = 0) -> PromptPairs:
    """The later year: "The war lasted from the year 1752 to the year 17" → 53, 54, … 99.

    Clean: a century from 11 to 17 and a year YY from 02 to 98.
    Corrupted: the year is 01, after which any year is later.
    Metric: `prob_diff`, p(> YY) − p(≤ YY) over the two-digit tokens 00 … 99 (`answer_set`, `foil_set`).
    All prompts have one length with a tokenizer that makes each word a token and splits a year in two.
    Years that the tokenizer does not split into century and year are dropped, as in the source.

    Source: Hanna et al. 2023, "How does GPT-2 compute greater-than?: Interpreting mathematical abilities in a
    pre-trained language model".

    Args:
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
        n: how many pairs, all different.
        seed: the same seed gives the same pairs.

    Raises:
        ValueError: the tokenizer serves too few of the words as one token each, or splits no year in two.
    """
    builder = TaskBuilder("greater_than", tokenizer)
    nouns = builder.keep("nouns", _NOUNS)
    builder.keep_templates([_TEMPLATE], noun=nouns[0], century=_CENTURIES[-1], year=_YEARS[-1])
    years = _two_digit_tokens(builder)
    dates = _split_dates(builder, years)

    def draw(random: Random, index: int) -> PromptPair:
        century, year = random.choice(dates)
        slots = {"noun": random.choice(nouns), "century": century}
        return PromptPair(
            clean=_TEMPLATE.format(year=year, **slots),
            corrupted=_TEMPLATE.format(year=_CORRUPTED_YEAR, **slots),
            answer=tuple(later for later in years if later > year),
            foil=tuple(earlier for earlier in years if earlier <= year),
            task="greater_than",
        )

    return builder.build(draw, n, seed)


def _two_digit_tokens(builder: TaskBuilder) -> list[str]:
    def served(year: str) -> bool:
        return single_token(year, builder.tokenizer) is not None

    return builder.keep_if("two-digit years", _YEARS, served, str, at_least=2)


def _split_dates(builder: TaskBuilder, years: list[str]) -> list[tuple[str, str]]:
    """The dates, century and year, that are two tokens, in centuries whose corrupted year is two tokens as well."""

    def splits(date: tuple[str, str]) -> bool:
        century, year = date
        parts = single_token(f" {century}", builder.tokenizer), single_token(year, builder.tokenizer)
        return builder.encoded(f" {century}{year}") == parts

    centuries = builder.keep_if(
        f"centuries with a year {_CORRUPTED_YEAR}", _CENTURIES, lambda c: splits((c, _CORRUPTED_YEAR)), str
    )
    dates = [(century, year) for century in centuries for year in years if _CORRUPTED_YEAR < year < years[-1]]
    return builder.keep_if("years split into century and year", dates, splits, "".join)
