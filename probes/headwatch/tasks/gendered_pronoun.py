"""Which pronoun follows a name."""

from random import Random

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike
from headwatch.tasks.builder import TaskBuilder
from headwatch.tasks.registry import TASKS
from headwatch.tasks.words import FEMALE, MALE, split_words

_TEMPLATE = "So {name} is such a {adjective} {noun}, isn't"
_PRONOUNS = ("he", "she")
_ADJECTIVES = split_words("good great nice fine kind clever funny strong brave bright famous gifted quiet")
_NOUNS = split_words(
    "friend teacher student singer writer doctor dancer cook player artist lawyer worker driver leader neighbor "
    "scientist musician reader speaker colleague"
)


@TASKS.register("gendered_pronoun")
def gendered_pronoun(tokenizer: TokenizerLike, n: int = 64, seed: int = 0) -> PromptPairs:
    """The pronoun that agrees with a name's usual gender.

    Clean: "So Evan is such a good friend, isn't" → " he"; half of the pairs have a woman's name → " she".
    Corrupted: a name of the other gender in its place.
    Metric: `logit_diff`, the right pronoun's logit minus the other's.
    All prompts have one length with a tokenizer that makes each word a token.

    Source: Mathwin et al. 2023, "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small".

    Args:
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
        n: how many pairs, all different.
        seed: the same seed gives the same pairs.

    Raises:
        ValueError: the tokenizer serves too few of the words as one token each.
    """
    builder = TaskBuilder("gendered_pronoun", tokenizer)
    pronouns = builder.keep("pronouns", _PRONOUNS, at_least=2)
    names = [builder.keep("men's names", MALE), builder.keep("women's names", FEMALE)]
    adjectives = builder.keep("adjectives", _ADJECTIVES)
    nouns = builder.keep("nouns", _NOUNS)
    builder.keep_templates([_TEMPLATE], name=names[0][0], adjective=adjectives[0], noun=nouns[0])

    def draw(random: Random, index: int) -> PromptPair:
        right, wrong = index % 2, 1 - index % 2
        slots = {"adjective": random.choice(adjectives), "noun": random.choice(nouns)}
        return PromptPair(
            clean=_TEMPLATE.format(name=random.choice(names[right]), **slots),
            corrupted=_TEMPLATE.format(name=random.choice(names[wrong]), **slots),
            answer=f" {pronouns[right]}",
            foil=f" {pronouns[wrong]}",
            task="gendered_pronoun",
        )

    return builder.build(draw, n, seed)
