"""One prompt pair, and the JSON Lines file that holds many of them.

A line is an object with `clean`, `corrupted`, `answer` and `foil`, and optionally `task` and `position`:

    {"clean": "When Mary and John met, John gave a ring to", "corrupted": "When Mary and John met, Mary gave a ring to",
     "answer": " Mary", "foil": " John", "task": "ioi"}

Prompts are text or lists of token ids; answers are text or one token id, or a list of either where a set of
answers is right. Other keys are left alone, so that a file may carry notes of its own.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Prompt = str | tuple[int, ...]
Answer = str | int | tuple[str | int, ...]

_REQUIRED = ("clean", "corrupted", "answer", "foil")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class PromptPair:
    """Two prompts that differ in what decides the answer.

    Example:
        >>> sentence = "When Mary and John went to the store, {} gave a drink to"
        >>> pair = hw.PromptPair(sentence.format("John"), sentence.format("Mary"), answer=" Mary", foil=" John")
        >>> hw.PromptPairs.from_pairs([pair], tokenizer)
        PromptPairs(1 pairs of up to 14 tokens, metric 'logit_diff')

    Attributes:
        clean: the prompt, as text or as token ids.
        corrupted: the same prompt with the deciding token exchanged; as many tokens as `clean`.
        answer: what continues `clean`, one token; or several, any of which is right.
        foil: what continues `corrupted` (or any wrong answer), one token or several.
        task: a name to group pairs by.
        position: the token after which the answer is read, counted from 0; None for the last one.
    """

    clean: Prompt
    corrupted: Prompt
    answer: Answer
    foil: Answer
    task: str = ""
    position: int | None = None


@contextmanager
def located(origin: str) -> Iterator[None]:
    """Put `origin`, such as `pairs.jsonl:3`, before the message of a ValueError that is raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error


def read_lines(path: Path | str) -> list[tuple[int, bytes]]:
    """The lines of a pair file that are not blank, each with its number, counted from 1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no pair.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a pair file" if path.is_dir() else "does not exist: give a JSON Lines file"
        raise FileNotFoundError(f"{path} {what}")
    lines = path.read_bytes().removeprefix(_BOM).split(b"\n")
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        raise ValueError(
            f"{path} is empty: a pair file has one JSON object a line, with {_listed(_REQUIRED)}"
        )
    return filled


def parse_line(line: bytes) -> PromptPair:
    """The prompt pair on one line of a pair file.

    Raises:
        ValueError: not UTF-8, not JSON, not an object, a key is missing, or a value is of the wrong type.
    """
    fields = _json_object(_decode(line))
    missing = [key for key in _REQUIRED if key not in fields]
    if missing:
        raise ValueError(f"{_listed(missing)} missing; a pair has {_listed(_REQUIRED)}")
    return PromptPair(
        clean=_prompt(fields, "clean"),
        corrupted=_prompt(fields, "corrupted"),
        answer=_answer(fields, "answer"),
        foil=_answer(fields, "foil"),
        task=_task(fields),
        position=_position(fields),
    )


def read_pair_file(path: Path | str) -> list[tuple[str, PromptPair]]:
    """Every pair of a JSON Lines file, each with its origin, `file:line`.

    UTF-8 with or without a byte order mark; blank lines and Windows line ends are fine.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no pair, or a line is not one; the message starts with `file:line`.
    """
    pairs = []
    for number, line in read_lines(path):
        origin = f"{path}:{number}"
        with located(origin):
            pairs.append((origin, parse_line(line)))
    return pairs


def write_pair_file(path: Path | str, pairs: Iterable[PromptPair]) -> None:
    """Write pairs as JSON Lines, one object a line, in UTF-8; an existing file is replaced."""
    lines = [json.dumps(_as_object(pair), ensure_ascii=False) + "\n" for pair in pairs]
    Path(path).write_bytes("".join(lines).encode())


def _as_object(pair: PromptPair) -> dict[str, Any]:
    fields = asdict(pair)
    if not pair.task:
        del fields["task"]
    if pair.position is None:
        del fields["position"]
    return fields


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise ValueError(f"not UTF-8: byte 0x{byte:02x} at byte {error.start + 1} of the line") from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON that can be read: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"a pair is a JSON object with {_listed(_REQUIRED)}, not {_json_type(fields)}")
    return fields


def _prompt(fields: dict[str, Any], key: str) -> Prompt:
    value = fields[key]
    if isinstance(value, str):
        return _text(value, key)
    if isinstance(value, list) and all(_is_id(item) for item in value):
        return tuple(value)
    raise ValueError(f"{key} is {_json_type(value)}; it must be text or a list of token ids")


def _answer(fields: dict[str, Any], key: str) -> Answer:
    value = fields[key]
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) or _is_id(item) for item in items):
        raise ValueError(f"{key} is {_json_type(value)}; it must be text or a token id, or a list of them")
    for item in items:
        if isinstance(item, str):
            _text(item, key)
    return tuple(items) if isinstance(value, list) else value


def _task(fields: dict[str, Any]) -> str:
    value = fields.get("task", "")
    if not isinstance(value, str):
        raise ValueError(f"task is {_json_type(value)}; it must be text")
    return _text(value, "task")


def _position(fields: dict[str, Any]) -> int | None:
    value = fields.get("position")
    if value is not None and not _is_id(value):
        raise ValueError(f"position is {value!r}; it must be a token's index, counted from 0")
    return value


def _text(value: str, key: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{key} has half of a surrogate pair, which no text can hold: {value!a}")
    return value


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _json_type(value: Any) -> str:
    if isinstance(value, list):
        return f"a list ({json.dumps(value)[:60]})" if value else "an empty list"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value)[:60]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
