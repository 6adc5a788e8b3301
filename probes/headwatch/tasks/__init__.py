"""Ready-made prompt pairs, seeded: each task says its clean prompt, its corruption, its metric and its source."""

from inspect import signature
from typing import Any

from headwatch.prompts.pairs import PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike
from headwatch.tasks.capitals import capitals
from headwatch.tasks.gendered_pronoun import gendered_pronoun
from headwatch.tasks.greater_than import greater_than
from headwatch.tasks.induction import induction
from headwatch.tasks.ioi import ioi
from headwatch.tasks.registry import TASKS
from headwatch.tasks.subject_verb import subject_verb

__all__ = [
    "TASKS",
    "capitals",
    "gendered_pronoun",
    "greater_than",
    "induction",
    "ioi",
    "make",
    "subject_verb",
]


def __dir__() -> list[str]:
    """What completion offers."""
    return __all__


def make(
    name: str,
    tokenizer: TokenizerLike | None = None,
    n: int = 64,
    seed: int = 0,
    **options: Any,
) -> PromptPairs:
    """The pairs of a task by its name.

    Example:
        >>> hw.tasks.make("ioi", tokenizer, n=4)
        PromptPairs(4 pairs of up to 14 tokens, metric 'logit_diff')

    Args:
        name: one of `TASKS`.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; `induction` needs none, and with
            one takes its vocabulary's size from it.
        n: how many pairs.
        seed: the same seed gives the same pairs.
        options: what else the task takes.

    Raises:
        ValueError: there is no task of that name, it needs a tokenizer, or it can't make `n` pairs with this one.
    """
    task = TASKS.find(name)
    if tokenizer is None and signature(task).parameters["tokenizer"].default is not None:
        raise ValueError(f"the task {name!r} is made of words and needs tokenizer=, a name or a folder")
    return task(tokenizer=tokenizer, n=n, seed=seed, **options)
