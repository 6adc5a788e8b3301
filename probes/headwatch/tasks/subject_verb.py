"""Number agreement of subject and verb."""

from random import Random

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike
from headwatch.tasks.builder import TaskBuilder
from headwatch.tasks.registry import TASKS
from headwatch.tasks.words import split_words

_TEMPLATE = "The {subject} {preposition} the {other}"
_PREPOSITIONS = split_words("near behind beside with for by")
_VERBS = [("is", "are"), ("was", "were"), ("has", "have")]
_SUBJECTS = split_words(
    "teacher doctor student boy girl friend king player worker farmer driver artist writer lawyer manager officer "
    "leader actor parent author soldier guard neighbor dog cat bird horse car house tree book key picture letter "
    "table chair ship train truck building"
)


@TASKS.register("subject_verb")
def subject_verb(tokenizer: TokenizerLike, n: int = 64, seed: int = 0) -> PromptPairs:
    """A verb that agrees with its subject across another noun.

    Clean: "The keys near the table" → " are", half of the subjects singular and half plural; the noun in between has
    either number.
    Corrupted: the subject in the other number ("The key near the table" → " is").
    Metric: `logit_diff`, the agreeing verb's logit minus that of its other number (is/are, was/were, has/have).
    All prompts have one length with a tokenizer that makes each word a token.

    Source: Linzen et al. 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies"; the exchange of
    number as an intervention: Finlayson et al. 2021, "Causal Analysis of Syntactic Agreement Mechanisms in Neural
    Language Models".

    Args:
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
        n: how many pairs, all different.
        seed: the same seed gives the same pairs.

    Raises:
        ValueError: the tokenizer serves too few of the words as one token each.
    """
    builder = TaskBuilder("subject_verb", tokenizer)
    nouns = builder.keep_groups(
        "nouns in both numbers", [(word, f"{word}s") for word in _SUBJECTS], at_least=2
    )
    verbs = builder.keep_groups("verbs in both numbers", _VERBS)
    prepositions = builder.keep("prepositions", _PREPOSITIONS)
    builder.keep_templates([_TEMPLATE], subject=nouns[0][0], preposition=prepositions[0], other=nouns[1][0])

    def draw(random: Random, index: int) -> PromptPair:
        right, wrong = index % 2, 1 - index % 2
        subject, other = random.sample(nouns, 2)
        verb = random.choice(verbs)
        slots = {"preposition": random.choice(prepositions), "other": random.choice(other)}
        return PromptPair(
            clean=_TEMPLATE.format(subject=subject[right], **slots),
            corrupted=_TEMPLATE.format(subject=subject[wrong], **slots),
            answer=f" {verb[right]}",
            foil=f" {verb[wrong]}",
            task="subject_verb",
        )

    return builder.build(draw, n, seed)
