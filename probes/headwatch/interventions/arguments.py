"""Numbers, indices and heads as users write them, made into plain ones, or refused in one sentence.

Whole numbers may be Python's, numpy's or tensors without axes; several may be a list, a tuple, a range, an array or
a tensor. A bool is no number, a float is none even where it is whole, and a negative index counts nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from headwatch.cell_names import Head
from headwatch.prompts.pairs import PromptPairs

_LONGEST = 80


def shown(value: object) -> str:
    """A value in a sentence: on one line, and not too long."""
    text = " ".join(repr(value.tolist() if isinstance(value, Tensor | np.ndarray) else value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def as_whole(value: Any) -> int | None:
    """The number, or None where a value is no whole number."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
    return int(value) if whole else None


def whole_number(name: str, value: object, at_least: int) -> int:
    """The number that an argument gives.

    Raises:
        ValueError: it is no whole number, or too small or too large.
    """
    number = as_whole(value)
    if number is None:
        raise ValueError(f"{name}={shown(value)}: give a whole number")
    if number < at_least:
        raise ValueError(f"{name}={number}: give {at_least} or more")
    if number >= 2**63:
        raise ValueError(f"{name}={number}: give less than 2**63")
    return number


def switch(name: str, value: object) -> bool:
    """True or False, as an argument gives it.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={shown(value)}: give True or False")
    return bool(value)


def function_or_none(name: str, value: Any) -> Callable[..., Any] | None:
    """The function that an argument gives, if it gives one.

    Raises:
        ValueError: it gives something else.
    """
    if value is not None and not callable(value):
        raise ValueError(f"{name}={shown(value)}: give a function")
    return value


def check_pairs(pairs: object) -> None:
    """Refuse what is no prompt pairs.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(pairs, PromptPairs):
        raise TypeError(
            f"pairs={shown(pairs)}: give PromptPairs, such as hw.PromptPairs.from_jsonl('pairs.jsonl', tokenizer)"
        )


def indices(name: str, value: object, count: int) -> tuple[int, ...]:
    """Which of `count` things an argument chooses, in its order; None chooses all.

    Raises:
        ValueError: it is no number and no numbers, chooses nothing, something that isn't there, or one twice.
    """
    if value is None:
        return tuple(range(count))
    numbers = [as_whole(each) for each in _listed(name, value)]
    if not numbers or not all(number is not None and 0 <= number < count for number in numbers):
        raise ValueError(f"{name}={shown(value)}: give some of 0 to {count - 1}")
    chosen = tuple(number for number in numbers if number is not None)
    _refuse_twice(name, chosen)
    return chosen


def heads(name: str, value: object, *, at_least_one: bool = False) -> tuple[Head, ...]:
    """The heads that an argument names, as (layer, head), whatever model they are of.

    Raises:
        ValueError: something isn't two numbers, one is named twice, or none where one is needed.
    """
    listed = _listed(name, value)
    if at_least_one and not listed:
        raise ValueError(f"{name}={listed}: give some heads as (layer, head)")
    found = tuple(_head(name, each) for each in listed)
    _refuse_twice(name, found)
    return found


def _head(name: str, value: object) -> Head:
    plain = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    match [as_whole(each) for each in plain] if isinstance(plain, list | tuple) else []:
        case [int(layer), int(head)]:
            return layer, head
    raise ValueError(f"{name}: {shown(value)} is no (layer, head): give heads such as [(9, 6), (9, 9)]")


def check_heads(name: str, chosen: tuple[Head, ...], n_layers: int, n_heads: int) -> None:
    """Refuse heads that a model lacks.

    Raises:
        ValueError: the model lacks one.
    """
    for layer, head in chosen:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ValueError(
                f"{name}: {(layer, head)} is no (layer, head) of this model: layers 0 to {n_layers - 1}, "
                f"heads 0 to {n_heads - 1}"
            )


def _listed(name: str, value: Any) -> list[Any]:
    """What an argument lists; one number stands for a list of it."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0:
        return list(value.tolist())
    if as_whole(value) is not None:
        return [value]
    if not isinstance(value, list | tuple | range):
        raise ValueError(f"{name}={shown(value)}: give a list")
    return list(value)


def _refuse_twice(name: str, chosen: tuple[Any, ...]) -> None:
    for number, one in enumerate(chosen):
        if one in chosen[:number]:
            raise ValueError(f"{name}={shown(list(chosen))}: {one} is named twice")
