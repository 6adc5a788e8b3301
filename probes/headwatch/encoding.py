"""From prompt pairs to rows of token ids, each checked on its own."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from headwatch.pair_file import Answer, Prompt, PromptPair, located
from headwatch.tokenizing import encode, encode_answer, single_token, token_texts

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


def encode_pairs(
    sources: Iterable[tuple[str, PromptPair]],
    tokenizer: PreTrainedTokenizerBase | None,
    skip_misaligned: bool = False,
    n_positions: int | None = None,
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
                encoded.append(encode_pair(pair, tokenizer, n_positions, origin))
            except MisalignedError:
                if not skip_misaligned:
                    raise
                misaligned += 1
    if not encoded:
        raise ValueError(f"no prompt pair is left: all {misaligned} are misaligned with this tokenizer")
    if misaligned:
        _log.info("left out %d misaligned pairs of %d", misaligned, misaligned + len(encoded))
    if tokenizer is not None:
        _warn_of_lost_spaces(encoded, tokenizer)
    return encoded, misaligned


def encode_pair(
    pair: PromptPair,
    tokenizer: PreTrainedTokenizerBase | None,
    n_positions: int | None = None,
    origin: str = "",
) -> EncodedPair:
    """One pair in token ids.

    Raises:
        ValueError: the prompts are misaligned, empty or too long, an answer is not one token, an answer is also
            a foil, the position is outside the prompt, a token is outside the vocabulary, or text comes without
            a tokenizer.
    """
    clean = _encode_prompt(pair.clean, "clean", tokenizer)
    corrupted = _encode_prompt(pair.corrupted, "corrupted", tokenizer)
    answers = _encode_answers(pair.answer, "answer", tokenizer)
    foils = _encode_answers(pair.foil, "foil", tokenizer)
    _check_aligned(clean, corrupted, tokenizer)
    if n_positions is not None and len(clean) > n_positions:
        raise ValueError(f"the prompt has {len(clean)} tokens, and the model's context holds {n_positions}")
    if set(answers) & set(foils):
        raise ValueError(
            f"answer {pair.answer!r} and foil {pair.foil!r} share a token, so that no metric can tell"
        )
    position = len(clean) - 1 if pair.position is None else pair.position
    if position >= len(clean):
        raise ValueError(f"position {position} is outside the prompt's {len(clean)} tokens")
    return EncodedPair(pair, origin, clean, corrupted, answers, foils, position)


def pad(rows: Sequence[Sequence[int]], value: int) -> Int[Tensor, "row longest"]:
    """Rows of integers as one long tensor, right-padded with `value` to the longest."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def from_rows(
    clean_ids: Tensor,
    corrupted_ids: Tensor,
    answer: Tensor,
    foil: Tensor,
    position: int | Tensor | None,
    lengths: Tensor | None,
) -> list[EncodedPair]:
    """Rows of token ids as encoded pairs; see `PromptPairs.from_tokens`.

    Raises:
        ValueError: see `PromptPairs.from_tokens`.
    """
    _check_integers(clean_ids, "clean_ids", None)
    _check_integers(corrupted_ids, "corrupted_ids", tuple(clean_ids.shape))
    n, width = clean_ids.shape
    lengths = torch.full((n,), width) if lengths is None else lengths
    for name, values in (("answer", answer), ("foil", foil), ("lengths", lengths)):
        _check_integers(values, name, (n,))
    if lengths.min() < 1 or lengths.max() > width:
        raise ValueError(f"lengths must be from 1 to the {width} tokens of a row, not {lengths.tolist()}")
    positions = _positions(position, lengths.cpu())
    rows = zip(clean_ids.tolist(), corrupted_ids.tolist(), answer.tolist(), foil.tolist(), strict=True)
    ends = zip(lengths.tolist(), positions.tolist(), strict=True)
    return [
        _encoded_row(index, clean[:length], corrupted[:length], right, wrong, where)
        for index, ((clean, corrupted, right, wrong), (length, where)) in enumerate(
            zip(rows, ends, strict=True)
        )
    ]


def _encoded_row(
    index: int, clean: list[int], corrupted: list[int], answer: int, foil: int, position: int
) -> EncodedPair:
    if min(*clean, *corrupted, answer, foil) < 0:
        raise ValueError(f"pair {index} has a negative token id: give lengths where rows are padded")
    last = len(clean) - 1
    source = PromptPair(
        tuple(clean), tuple(corrupted), answer, foil, position=None if position == last else position
    )
    return EncodedPair(source, f"pair {index}", tuple(clean), tuple(corrupted), (answer,), (foil,), position)


def _positions(position: int | Tensor | None, lengths: Int[Tensor, " pair"]) -> Int[Tensor, " pair"]:
    if position is None:
        return lengths - 1
    if isinstance(position, Tensor) and position.dim():
        _check_integers(position, "position", tuple(lengths.shape))
    positions = torch.as_tensor(position, device="cpu").expand(len(lengths))
    outside = (positions < -lengths) | (positions >= lengths)
    if outside.any():
        pair = int(outside.int().argmax())
        raise ValueError(
            f"position {int(positions[pair])} is outside the {int(lengths[pair])} tokens of pair {pair}"
        )
    return torch.where(positions < 0, positions + lengths, positions)


def _check_integers(values: Tensor, name: str, shape: tuple[int, ...] | None) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must be whole numbers (torch.long), not {values.dtype}")
    if shape is None and (values.dim() != 2 or not values.numel()):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; it must be [pair, position], with no axis empty"
        )
    if shape is not None and tuple(values.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; beside clean_ids it must be {shape}")


def _encode_prompt(prompt: Prompt, key: str, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, ...]:
    if isinstance(prompt, str):
        prompt = _encode_text(prompt, key, tokenizer)
    if not prompt:
        raise ValueError(f"{key} is empty")
    return prompt


def _encode_text(text: str, key: str, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, ...]:
    if tokenizer is None:
        raise ValueError(f"{key} is text, and there is no tokenizer: give tokenizer=, a name or a folder")
    with located(key):
        return encode(text, tokenizer)


def _encode_answers(answer: Answer, key: str, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, ...]:
    answers = answer if isinstance(answer, tuple) else (answer,)
    return tuple(_encode_one_answer(item, key, tokenizer) for item in answers)


def _encode_one_answer(answer: str | int, key: str, tokenizer: PreTrainedTokenizerBase | None) -> int:
    if isinstance(answer, int):
        return answer
    if tokenizer is None:
        raise ValueError(f"{key} is text, and there is no tokenizer: give tokenizer=, a name or a folder")
    with located(key):
        return encode_answer(answer, tokenizer)


def _check_aligned(
    clean: tuple[int, ...], corrupted: tuple[int, ...], tokenizer: PreTrainedTokenizerBase | None
) -> None:
    if len(clean) == len(corrupted):
        return
    texts = [list(ids if tokenizer is None else token_texts(ids, tokenizer)) for ids in (clean, corrupted)]
    raise MisalignedError(
        f"the prompts must have the same number of tokens, and clean has {len(clean)}, {texts[0]}, "
        f"while corrupted has {len(corrupted)}, {texts[1]}; skip_misaligned=True leaves such pairs out"
    )


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
