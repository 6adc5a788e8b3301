"""The capital of a country."""

from random import Random

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike
from headwatch.tasks.builder import TaskBuilder
from headwatch.tasks.registry import TASKS

# All of one length, so that the whole set can be patched by position.
_TEMPLATES = (
    "The capital of {country} is the city of",
    "The capital city of {country} is known as",
    "In {country} the capital is the city of",
)
_CAPITALS = {
    "Afghanistan": "Kabul", "Austria": "Vienna", "Bangladesh": "Dhaka", "Belgium": "Brussels",
    "Britain": "London", "Bulgaria": "Sofia", "Canada": "Ottawa", "Chile": "Santiago", "China": "Beijing",
    "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Egypt": "Cairo",
    "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin", "Greece": "Athens", "Hungary": "Budapest",
    "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin", "Italy": "Rome",
    "Japan": "Tokyo", "Jordan": "Amman", "Kenya": "Nairobi", "Lebanon": "Beirut", "Libya": "Tripoli",
    "Nepal": "Kathmandu", "Norway": "Oslo", "Pakistan": "Islamabad", "Peru": "Lima", "Philippines": "Manila",
    "Poland": "Warsaw", "Portugal": "Lisbon", "Qatar": "Doha", "Romania": "Bucharest", "Russia": "Moscow",
    "Scotland": "Edinburgh", "Serbia": "Belgrade", "Spain": "Madrid", "Sweden": "Stockholm", "Syria": "Damascus",
    "Thailand": "Bangkok", "Turkey": "Ankara", "Ukraine": "Kiev", "Venezuela": "Caracas", "Vietnam": "Hanoi",
    "Wales": "Cardiff",
}  # fmt: skip


@TASKS.register("capitals")
def capitals(tokenizer: TokenizerLike, n: int = 64, seed: int = 0) -> PromptPairs:
    """The capital of a country: recall of a fact.

    Clean: "The capital of France is the city of" → " Paris".
    Corrupted: another country ("The capital of Japan is the city of" → " Tokyo").
    Metric: `logit_diff`, the country's capital minus the other country's.
    All prompts have one length with a tokenizer that makes each word a token. Countries whose capital is two words are
    left out.

    Source: Merullo et al. 2024, "Language Models Implement Simple Word2Vec-style Vector Arithmetic"; the exchange of
    subjects as the corruption: Zhang & Nanda 2024, "Towards Best Practices of Activation Patching in Language Models".

    Args:
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
        n: how many pairs, all different.
        seed: the same seed gives the same pairs.

    Raises:
        ValueError: the tokenizer serves too few of the words as one token each.
    """
    builder = TaskBuilder("capitals", tokenizer)
    countries = builder.keep_groups("countries with their capital", list(_CAPITALS.items()), at_least=2)
    templates = builder.keep_templates(_TEMPLATES, country=countries[0][0])

    def draw(random: Random, index: int) -> PromptPair:
        template = random.choice(templates)
        (country, capital), (other, other_capital) = random.sample(countries, 2)
        return PromptPair(
            clean=template.format(country=country),
            corrupted=template.format(country=other),
            answer=f" {capital}",
            foil=f" {other_capital}",
            task="capitals",
        )

    return builder.build(draw, n, seed)
