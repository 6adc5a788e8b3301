"""From prompt pairs to token ids, each pair checked on its own."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from headwatch.prompts.jsonl import Answer, Prompt, PromptPair, located
from headwatch.prompts.tokenizer import encode, encode_answer, single_token, token_texts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedPair:
    """A prompt pair in token ids, not padded.

    Attributes:
        source: the pair as it was given.
        origin: where it came from, such as `pairs.jsonl:3`.
        clean: the clean prompt's token ids.
        corrupted: the corrupted prompt's token ids.
        answers: the right answers' token ids, at least one.
        foils: the wrong answers' token ids, at least one.
        position: where the answer is read.
    """

    source: PromptPair
    origin: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answers: tuple[int, ...]
    foils: tuple[int, ...]
    position: int


class MisalignedError(ValueError):
    """A pair's two prompts have different numbers of tokens."""


class PairEncoder:
    """Encodes prompt pairs one by one.

    Args:
        tokenizer: None where all pairs are token ids.
        n_positions: the longest prompt allowed; None for any.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, n_positions: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.n_positions = n_positions
        self._answers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def encode(self, pair: PromptPair, origin: str = "") -> EncodedPair:
        """One pair in token ids.

        Raises:
            MisalignedError: the prompts have different numbers of tokens.
            ValueError: a prompt is empty or too long, an answer is not one token, an answer is also a foil, the
                position is outside the prompt, a token is outside the vocabulary, or text comes without a tokenizer.
        """
        clean = self._prompt(pair.clean, "clean")
        corrupted = self._prompt(pair.corrupted, "corrupted")
        answers, foils = self._answer(pair.answer, "answer"), self._answer(pair.foil, "foil")
        if len(clean) != len(corrupted):
            raise MisalignedError(self._misaligned(clean, corrupted))
        if self.n_positions is not None and len(clean) > self.n_positions:
            raise ValueError(too_long(len(clean), self.n_positions))
        if set(answers) & set(foils):
            raise ValueError(f"answer {pair.answer!r} and foil {pair.foil!r} share a token; they must differ")
        position = len(clean) - 1 if pair.position is None else pair.position
        if position >= len(clean):
            raise ValueError(f"position {position} is outside the prompt's {len(clean)} tokens")
        return EncodedPair(pair, origin, clean, corrupted, answers, foils, position)

    def texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Each token as printable text; the ids themselves where there is no tokenizer."""
        if self.tokenizer is None:
            return tuple(map(str, ids))
        new = [token for token in dict.fromkeys(ids) if token not in self._texts]
        self._texts |= zip(new, token_texts(new, self.tokenizer), strict=True)
        return tuple(self._texts[token] for token in ids)

    def _prompt(self, prompt: Prompt, key: str) -> tuple[int, ...]:
        with located(key):
            ids = encode(prompt, self._needed()) if isinstance(prompt, str) else prompt
            if not ids and isinstance(prompt, str) and prompt.strip():
                raise ValueError(f"the tokenizer makes no token of {prompt!r}: give the model's own")
            if not ids:
                raise ValueError("the prompt is empty")
        return ids

    def _answer(self, answer: Answer, key: str) -> tuple[int, ...]:
        with located(key):
            return tuple(map(self._one_answer, answer if isinstance(answer, tuple) else (answer,)))

    def _one_answer(self, answer: str | int) -> int:
        if isinstance(answer, int):
            return answer
        if answer not in self._answers:
            self._answers[answer] = encode_answer(answer, self._needed())
        return self._answers[answer]

    def _needed(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ValueError("text needs a tokenizer, and there is none: give tokenizer=, a name or a folder")
        return self.tokenizer

    def _misaligned(self, clean: tuple[int, ...], corrupted: tuple[int, ...]) -> str:
        return (
            f"the prompts must have the same number of tokens, and clean has {len(clean)}, "
            f"{list(self.texts(clean))}, while corrupted has {len(corrupted)}, {list(self.texts(corrupted))}; "
            "skip_misaligned=True leaves such pairs out"
        )


def encode_pairs(
    sources: Iterable[tuple[str, PromptPair]], encoder: PairEncoder, skip_misaligned: bool = False
) -> tuple[list[EncodedPair], int]:
    """Encode pairs that come with their origins; the second value counts the misaligned ones left out.

    Raises:
        ValueError: a pair can't be used, or none is left; the message starts with the pair's origin.
    """
    encoded: list[EncodedPair] = []
    misaligned = 0
    for origin, pair in sources:
        with located(origin):
            try:
                encoded.append(encoder.encode(pair, origin))
            except MisalignedError:
                if not skip_misaligned:
                    raise
                misaligned += 1
    if not encoded:
        raise ValueError(f"no prompt pair is left: all {misaligned} are misaligned with this tokenizer")
    if misaligned:
        _log.info("left out %d misaligned pairs of %d", misaligned, misaligned + len(encoded))
    if encoder.tokenizer is not None:
        _warn_of_lost_spaces(encoded, encoder.tokenizer)
    return encoded, misaligned


def pad(rows: Sequence[Sequence[int]], value: int) -> Int[Tensor, "row longest"]:
    """Rows of integers as one long tensor, right-padded with `value` to the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def too_long(length: int, n_positions: int) -> str:
    """The sentence that refuses a prompt longer than the model's context."""
    return f"the prompt has {length} tokens, and the model's context holds {n_positions}"


def _warn_of_lost_spaces(encoded: Sequence[EncodedPair], tokenizer: PreTrainedTokenizerBase) -> None:
    suspects = [pair for pair in encoded if _lost_space(pair.source, tokenizer)]
    if suspects:
        answer = suspects[0].source.answer
        _log.warning(
            "%s: the answer %r follows a word without a space, as one word with it; %r is another token and is "
            "probably meant (%d such pairs)",
            suspects[0].origin, answer, f" {answer}", len(suspects),
        )  # fmt: skip


def _lost_space(pair: PromptPair, tokenizer: PreTrainedTokenizerBase) -> bool:
    """True for "gave it to" + "Mary", where the tokenizer has " Mary" as a token of its own."""
    if not isinstance(pair.clean, str) or not isinstance(pair.answer, str) or pair.position is not None:
        return False
    if not (pair.clean[-1:].isalpha() and pair.answer[:1].isalpha()):
        return False
    spaced = single_token(f" {pair.answer}", tokenizer)
    return spaced is not None and spaced != single_token(pair.answer, tokenizer)
