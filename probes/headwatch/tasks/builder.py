"""What tasks made of words share: words that the tokenizer serves as one token, and seeded, distinct draws."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike, encode, load_tokenizer, single_token

Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class TaskBuilder:
    """Keeps the words that a tokenizer serves as one token, remembers the others, and draws pairs.

    Args:
        task: the task's name.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder.
    """

    def __init__(self, task: str, tokenizer: TokenizerLike) -> None:
        self.task = task
        self.tokenizer = load_tokenizer(tokenizer)
        self.dropped: list[str] = []

    def keep(self, what: str, words: Sequence[str], at_least: int = 1) -> list[str]:
        """The words that are one token after a space.

        Raises:
            ValueError: fewer than `at_least` are.
        """
        return [word for (word,) in self.keep_groups(what, [(word,) for word in words], at_least)]

    def keep_groups(
        self, what: str, groups: Sequence[tuple[str, ...]], at_least: int = 1
    ) -> list[tuple[str, ...]]:
        """The groups, such as a country and its capital, of which every word is one token after a space.

        Raises:
            ValueError: fewer than `at_least` are.
        """
        return self.keep_if(what, groups, lambda group: all(map(self.serves, group)), "/".join, at_least)

    def keep_templates(self, templates: Sequence[str], **slots: str) -> list[str]:
        """The templates that hold no word outside the vocabulary, once `slots` are filled.

        Raises:
            ValueError: none is left.
        """
        return self.keep_if(
            "templates", templates, lambda t: self.encoded(t.format(**slots)) is not None, str
        )

    def keep_if(
        self,
        what: str,
        items: Sequence[Item],
        served: Callable[[Item], bool],
        text: Callable[[Item], str],
        at_least: int = 1,
    ) -> list[Item]:
        """The items that `served` says yes to; `text` of the others is added to `dropped`.

        Raises:
            ValueError: fewer than `at_least` are.
        """
        kept, dropped = [], []
        for item in items:
            if served(item):
                kept.append(item)
            else:
                dropped.append(text(item))
        if len(kept) < at_least:
            raise ValueError(
                f"{self.task} needs at least {at_least} {what} that this tokenizer serves, one token a word, and "
                f"{len(kept)} of {len(items)} are; dropped {len(dropped)}: {shortened(dropped)}"
            )
        self.dropped += dropped
        return kept

    def serves(self, word: str) -> bool:
        """True where a word is one token after a space."""
        return single_token(f" {word}", self.tokenizer) is not None

    def encoded(self, text: str) -> tuple[int, ...] | None:
        """The token ids of a text; None where it holds something outside the vocabulary."""
        try:
            return encode(text, self.tokenizer)
        except ValueError:
            return None

    def build(self, draw: Callable[[Random, int], PromptPair], n: int, seed: int) -> PromptPairs:
        """`n` different pairs; `draw` makes the pair of an index with a generator seeded by `seed`.

        Raises:
            ValueError: `n` is not positive, or there are not `n` different pairs to be drawn.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        pairs = PromptPairs.from_pairs(self._distinct(draw, n, Random(seed)), self.tokenizer)
        if self.dropped:
            _log.info(
                "%s: dropped %d words that are not one token with this tokenizer: %s",
                self.task, len(self.dropped), shortened(self.dropped),
            )  # fmt: skip
        return replace(pairs, dropped=len(self.dropped), dropped_words=tuple(self.dropped))

    def _distinct(
        self, draw: Callable[[Random, int], PromptPair], n: int, random: Random
    ) -> list[PromptPair]:
        pairs: dict[PromptPair, None] = {}
        for _ in range(100 * n + 1_000):
            pairs[draw(random, len(pairs))] = None
            if len(pairs) == n:
                return list(pairs)
        raise ValueError(
            f"{self.task} has only {len(pairs)} different pairs in the words this tokenizer serves, not n={n}; "
            f"dropped {len(self.dropped)}: {shortened(self.dropped) or 'none'}"
        )


def shortened(words: Sequence[str], room: int = 100) -> str:
    """As many of the first words as `room` characters hold, one at least, and how many more there are."""
    shown = min(1, len(words))
    while shown < len(words) and len(", ".join(words[: shown + 1])) <= room:
        shown += 1
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more
