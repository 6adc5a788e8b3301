"""Prompt pairs: clean and corrupted prompts, token by token alike, with the answers that tell them apart.

`PromptPairs` is what every probe runs on. It comes from a JSON Lines file, from text, from token ids, or from a
task in `headwatch.tasks`. Prompts are right-padded and no special token is added: a prompt starts with a BOS
token only where its text does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.prompts.encode import EncodedPair, PairEncoder, encode_pairs, pad, too_long
from headwatch.prompts.from_token_ids import from_rows
from headwatch.prompts.jsonl import PromptPair, read_pair_file, write_pair_file
from headwatch.prompts.tokenizer import TokenizerLike, load_tokenizer

__all__ = ["PromptPair", "PromptPairs"]


@runtime_checkable
class ModelLimits(Protocol):
    """What prompts are checked against: the vocabulary's size and the longest prompt."""

    @property
    def d_vocab(self) -> int:
        """The number of tokens in the vocabulary."""

    @property
    def n_positions(self) -> int:
        """The number of tokens in the longest prompt."""


@dataclass(frozen=True, eq=False, repr=False)
class PromptPairs:
    """A set of prompt pairs, tokenised.

    Example:
        >>> pairs = hw.PromptPairs.from_jsonl("pairs.jsonl", tokenizer)
        >>> len(pairs), len(pairs[:2])
        (4, 2)
        >>> pairs.clean.shape == pairs.corrupted.shape                     # [pair, position]
        True

    Attributes:
        clean: token ids, `[pair, position]`, right-padded with 0 to the longest prompt.
        corrupted: token ids, `[pair, position]`, padded alike.
        lengths: the number of real tokens, the same for a pair's two prompts, `[pair]`.
        answer: the token that continues the clean prompt, `[pair]`; of a set of answers, the first.
        foil: the token that continues the corrupted prompt or is wrong otherwise, `[pair]`; of a set, the first.
        position: where metrics are read, `[pair]`.
        tokens: the clean prompts' real tokens as printable text.
        corrupted_tokens: the corrupted prompts' real tokens as printable text.
        pairs: the pairs as they were given.
        origins: where each pair came from, such as `pairs.jsonl:3`.
        answer_set: all right answers, `[pair, n_answers]`, padded with −1; None where each pair has one.
        foil_set: all wrong answers, `[pair, n_foils]`, padded with −1; None together with `answer_set`.
        dropped: how many misaligned pairs, or words that a task's tokenizer can't serve, were left out.
        dropped_words: those words.
    """

    clean: Int[Tensor, "pair position"]
    corrupted: Int[Tensor, "pair position"]
    lengths: Int[Tensor, " pair"]
    answer: Int[Tensor, " pair"]
    foil: Int[Tensor, " pair"]
    position: Int[Tensor, " pair"]
    tokens: tuple[tuple[str, ...], ...]
    corrupted_tokens: tuple[tuple[str, ...], ...]
    pairs: tuple[PromptPair, ...]
    origins: tuple[str, ...]
    answer_set: Int[Tensor, "pair n_answers"] | None = None
    foil_set: Int[Tensor, "pair n_foils"] | None = None
    dropped: int = 0
    dropped_words: tuple[str, ...] = ()

    @classmethod
    def from_jsonl(
        cls,
        path: Path | str,
        tokenizer: TokenizerLike | None,
        skip_misaligned: bool = False,
        n_positions: int | None = None,
    ) -> "PromptPairs":
        """The pairs of a JSON Lines file; `headwatch.prompts.jsonl` says what a line holds.

        Args:
            path: the file.
            tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None for a file of token ids.
            skip_misaligned: leave out pairs whose prompts have different numbers of tokens, and count them in
                `dropped`.
            n_positions: the longest prompt allowed; None leaves that to `check`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is empty, or a line is no pair that can be used: not UTF-8, not JSON, a key
                missing or of the wrong type, prompts misaligned or too long, an answer of several tokens, a
                token outside the vocabulary. The message starts with `file:line`.
        """
        sources = read_pair_file(path)
        return cls._from_sources(sources, tokenizer, skip_misaligned, n_positions)

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[PromptPair],
        tokenizer: TokenizerLike | None,
        skip_misaligned: bool = False,
        n_positions: int | None = None,
    ) -> "PromptPairs":
        """The same from pairs in memory; see `from_jsonl`.

        Raises:
            ValueError: there is no pair, or a pair can't be used; the message starts with its index.
        """
        if not pairs:
            raise ValueError("no prompt pairs were given")
        sources = [(f"pair {index}", pair) for index, pair in enumerate(pairs)]
        return cls._from_sources(sources, tokenizer, skip_misaligned, n_positions)

    @classmethod
    def from_tokens(
        cls,
        clean_ids: Tensor,
        corrupted_ids: Tensor,
        answer: Tensor,
        foil: Tensor,
        position: int | Tensor | None = None,
        lengths: Tensor | None = None,
        tokenizer: TokenizerLike | None = None,
    ) -> "PromptPairs":
        """Pairs from token ids.

        Args:
            clean_ids: integers, `[pair, position]`, right-padded where `lengths` says so.
            corrupted_ids: integers, `[pair, position]`.
            answer: integers, `[pair]`.
            foil: integers, `[pair]`.
            position: where metrics are read: an index for all pairs (negative ones count from each prompt's last
                real token), `[pair]` indices, or None for each prompt's last real token.
            lengths: real tokens of each prompt, `[pair]`; None where none is padded.
            tokenizer: makes `tokens` readable; None shows ids.

        Raises:
            ValueError: shapes that do not fit, values that are not whole numbers, a negative token id, a position
                or a length outside the prompts.
        """
        rows = from_rows(clean_ids, corrupted_ids, answer, foil, position, lengths)
        return cls._from_encoded(rows, _encoder(tokenizer), 0).to(clean_ids.device)

    @classmethod
    def _from_sources(
        cls,
        sources: Sequence[tuple[str, PromptPair]],
        tokenizer: TokenizerLike | None,
        skip_misaligned: bool,
        n_positions: int | None,
    ) -> "PromptPairs":
        encoder = _encoder(tokenizer, n_positions)
        encoded, misaligned = encode_pairs(sources, encoder, skip_misaligned)
        return cls._from_encoded(encoded, encoder, misaligned)

    @classmethod
    def _from_encoded(
        cls, encoded: Sequence[EncodedPair], encoder: PairEncoder, dropped: int
    ) -> "PromptPairs":
        sets = any(isinstance(item, tuple) for p in encoded for item in (p.source.answer, p.source.foil))
        return cls(
            clean=pad([pair.clean for pair in encoded], 0),
            corrupted=pad([pair.corrupted for pair in encoded], 0),
            lengths=torch.tensor([len(pair.clean) for pair in encoded]),
            answer=torch.tensor([pair.answers[0] for pair in encoded]),
            foil=torch.tensor([pair.foils[0] for pair in encoded]),
            position=torch.tensor([pair.position for pair in encoded]),
            tokens=tuple(encoder.texts(pair.clean) for pair in encoded),
            corrupted_tokens=tuple(encoder.texts(pair.corrupted) for pair in encoded),
            pairs=tuple(pair.source for pair in encoded),
            origins=tuple(pair.origin for pair in encoded),
            answer_set=pad([pair.answers for pair in encoded], -1) if sets else None,
            foil_set=pad([pair.foils for pair in encoded], -1) if sets else None,
            dropped=dropped,
        )

    @property
    def metric(self) -> str:
        """The metric these pairs were made for: `prob_diff` where a pair has sets of answers, else `logit_diff`."""
        return "logit_diff" if self.answer_set is None else "prob_diff"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Each pair's task, empty where it has none."""
        return tuple(pair.task for pair in self.pairs)

    @property
    def task_numbers(self) -> Int[np.ndarray, " pair"]:
        """Each pair's task as a number from 0 on."""
        return np.unique(np.array(self.tasks), return_inverse=True)[1]

    @property
    def attention_mask(self) -> Int[Tensor, "pair position"]:
        """1 at real tokens and 0 at padding, `[pair, position]`."""
        positions = torch.arange(self.clean.shape[1], device=self.clean.device)
        return (positions < self.lengths[:, None]).long()

    @property
    def first_difference(self) -> Int[Tensor, " pair"]:
        """The index of the first token in which a pair's prompts differ, `[pair]`; its length where none does."""
        differs = self.clean != self.corrupted
        return torch.where(differs.any(1), differs.int().argmax(1), self.lengths)

    @property
    def one_length(self) -> bool:
        """True where all prompts have the same number of tokens, so that none is padded."""
        return bool((self.lengths == self.clean.shape[1]).all())

    def by_length(self) -> dict[int, "PromptPairs"]:
        """The pairs split by prompt length, shortest first; none of the parts is padded."""
        lengths: list[int] = self.lengths.unique().tolist()
        return {length: self[self.lengths == length] for length in lengths}

    def to(self, device: torch.device | str) -> "PromptPairs":
        """The same pairs on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def check(self, limits: ModelLimits) -> None:
        """Refuse pairs that a model can't run.

        Raises:
            ValueError: a prompt is longer than the model's context, or a token or an answer is outside its
                vocabulary; the message says which pair, by file and line where it came from one.
        """
        exceeds = self.lengths > limits.n_positions
        if exceeds.any():
            pair = int(exceeds.int().argmax())
            message = too_long(int(self.lengths[pair]), limits.n_positions)
            raise ValueError(f"{self.origins[pair]}: {message}")
        for name, ids in self._tensors().items():
            if name not in ("lengths", "position"):
                self._check_vocabulary(name, ids, limits.d_vocab)

    def to_jsonl(self, path: Path | str) -> None:
        """Write the pairs as they were given to a JSON Lines file that `from_jsonl` reads back."""
        write_pair_file(path, self.pairs)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> "PromptPairs":
        """Some of the pairs, padded to the longest of them; `dropped` stays that of the whole set.

        Raises:
            IndexError: an index that is out of range, or one that picks no pair.
        """
        rows = torch.arange(len(self))[_as_index(index, len(self))]
        if not len(rows):
            raise IndexError(f"the index {index!r} picks none of the {len(self)} pairs")
        chosen: dict[str, Any] = {
            name: value[rows.to(value.device)] for name, value in self._tensors().items()
        }
        longest = int(chosen["lengths"].max())
        chosen |= {name: chosen[name][:, :longest] for name in ("clean", "corrupted")}
        return replace(self, **chosen, **self._texts_of(rows.tolist()))

    def __iter__(self) -> Iterator["PromptPairs"]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        longest = self.clean.shape[1]
        return f"PromptPairs({len(self)} pairs of up to {longest} tokens, metric {self.metric!r})"

    def _tensors(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _texts_of(self, rows: list[int]) -> dict[str, Any]:
        names = ("tokens", "corrupted_tokens", "pairs", "origins")
        return {name: tuple(getattr(self, name)[row] for row in rows) for name in names}

    def _check_vocabulary(self, name: str, ids: Tensor, d_vocab: int) -> None:
        outside = (ids >= d_vocab).view(len(self), -1).any(1)
        if outside.any():
            pair = int(outside.int().argmax())
            raise ValueError(
                f"{self.origins[pair]}: {name} has the token id {int(ids[pair].max())}, "
                f"outside the model's vocabulary of {d_vocab}: is this the model's own tokenizer?"
            )


def _encoder(tokenizer: TokenizerLike | None, n_positions: int | None = None) -> PairEncoder:
    return PairEncoder(None if tokenizer is None else load_tokenizer(tokenizer), n_positions)


def _as_index(index: int | slice | list[int] | Tensor, n: int) -> slice | Tensor:
    if isinstance(index, slice):
        return index
    rows = torch.as_tensor([index] if isinstance(index, int) else index, device="cpu")
    if rows.dtype == torch.bool or not len(rows):
        return rows if len(rows) else rows.long()
    if rows.min() < -n or rows.max() >= n:
        raise IndexError(f"pair {rows.tolist()} is out of range: there are {n} pairs")
    return rows
