"""Indirect object identification."""

from random import Random

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike
from headwatch.tasks.builder import TaskBuilder
from headwatch.tasks.registry import TASKS
from headwatch.tasks.words import FEMALE, MALE, split_words

# All of one length, so that the whole set can be patched by position.
_TEMPLATES = (
    "When {first} and {second} went to the {place}, {giver} gave a {gift} to",
    "After {first} and {second} went to the {place}, {giver} gave a {gift} to",
    "While {first} and {second} sat in the {place}, {giver} handed a {gift} to",
    "When {first} and {second} met at the {place}, {giver} sold a {gift} to",
    "Once {first} and {second} came to the {place}, {giver} passed a {gift} to",
    "Since {first} and {second} worked at the {place}, {giver} sent a {gift} to",
    "Before {first} and {second} left for the {place}, {giver} brought a {gift} to",
    "Then {first} and {second} drove to the {place}. {giver} offered a {gift} to",
)
_PLACES = split_words(
    "store school park office house garden restaurant hospital station library museum market beach hotel theater farm "
    "airport church bank river castle bar kitchen gym lake club studio theatre mall zoo"
)
_GIFTS = split_words(
    "drink ring book ball computer snack bone kiss basketball letter box coat hat key map phone card cup bag gift "
    "picture camera watch bottle newspaper ticket guitar toy knife cookie"
)


@TASKS.register("ioi")
def ioi(tokenizer: TokenizerLike, n: int = 64, seed: int = 0) -> PromptPairs:
    """Indirect object identification: who receives what the other one gives.

    Clean: "When Mary and John went to the store, John gave a drink to" → " Mary", half of the pairs with the giver
    second (ABBA) and half with the giver first (BABA: "When John and Mary went ..., John gave").
    Corrupted: the giver's second mention names the other one ("..., Mary gave a drink to" → " John").
    Metric: `logit_diff`, the receiver's logit minus the giver's.
    All prompts have one length with a tokenizer that makes each word a token.

    Source: Wang et al. 2022, "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2
    small"; the exchange of names as the corruption: Zhang & Nanda 2024, "Towards Best Practices of Activation
    Patching in Language Models".

    Args:
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
        n: how many pairs, all different.
        seed: the same seed gives the same pairs.

    Raises:
        ValueError: the tokenizer serves too few of the words as one token each.
    """
    builder = TaskBuilder("ioi", tokenizer)
    names = builder.keep("names", [*FEMALE, *MALE], at_least=2)
    places = builder.keep("places", _PLACES)
    gifts = builder.keep("gifts", _GIFTS)
    example = {"first": names[0], "second": names[1], "giver": names[1], "place": places[0], "gift": gifts[0]}
    templates = builder.keep_templates(_TEMPLATES, **example)

    def draw(random: Random, index: int) -> PromptPair:
        receiver, giver = random.sample(names, 2)
        first, second = (receiver, giver) if index % 2 == 0 else (giver, receiver)
        template, place, gift = random.choice(templates), random.choice(places), random.choice(gifts)
        slots = {"first": first, "second": second, "place": place, "gift": gift}
        return PromptPair(
            clean=template.format(giver=giver, **slots),
            corrupted=template.format(giver=receiver, **slots),
            answer=f" {receiver}",
            foil=f" {giver}",
            task="ioi",
        )

    return builder.build(draw, n, seed)
