"""Everything that is wrong with a pair file, line by line, where reading it would stop at the first mistake."""

from dataclasses import dataclass
from pathlib import Path

from headwatch.prompts.encode import EncodedPair, PairEncoder
from headwatch.prompts.jsonl import parse_line, read_lines
from headwatch.prompts.tokenizer import TokenizerLike, load_tokenizer


@dataclass(frozen=True)
class PairProblem:
    """What is wrong with one line of a pair file.

    Attributes:
        line: the line's number, counted from 1.
        message: what is wrong and what would work.
    """

    line: int
    message: str


def check_pair_file(
    path: Path | str,
    tokenizer: TokenizerLike | None,
    n_positions: int | None = None,
    d_vocab: int | None = None,
) -> list[PairProblem]:
    """Each line of a JSON Lines file that is no usable pair; empty where `PromptPairs.from_jsonl` would take them all.

    Args:
        path: the file.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None for a file of token ids.
        n_positions: the longest prompt that the model holds; None for any.
        d_vocab: the size of the model's vocabulary; None for any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no pair at all, or the tokenizer can't be loaded.
    """
    lines = read_lines(path)  # before a hub is asked for the tokenizer
    encoder = PairEncoder(None if tokenizer is None else load_tokenizer(tokenizer), n_positions)
    problems = []
    for number, line in lines:
        try:
            _check_vocabulary(encoder.encode(parse_line(line)), d_vocab)
        except ValueError as error:
            problems.append(PairProblem(number, str(error)))
    return problems


def _check_vocabulary(pair: EncodedPair, d_vocab: int | None) -> None:
    highest = max(*pair.clean, *pair.corrupted, *pair.answers, *pair.foils)
    if d_vocab is not None and highest >= d_vocab:
        raise ValueError(f"token id {highest} is outside the model's vocabulary of {d_vocab}")
