"""Typed access to the keys of a JSON object that somebody else wrote: each mistake is one clear sentence."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from headwatch.record.steps import BEFORE_TRAINING


class Fields:
    """The keys of one JSON object, read with their types checked.

    Every method raises ValueError, naming the key, where it is missing or holds something else.

    Args:
        values: the object, as `json.loads` gave it.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of all keys."""
        return tuple(self._values)

    @property
    def unread(self) -> tuple[str, ...]:
        """The keys that nobody has asked for."""
        return tuple(key for key in self._values if key not in self._read)

    def is_null(self, key: str) -> bool:
        """Whether the key is missing or null."""
        self._read.add(key)
        return self._values.get(key) is None

    def integer(self, key: str) -> int:
        """A whole number from 0 up."""
        return _whole(self._get(key), key)

    def step(self, key: str) -> int:
        """An optimizer step: a whole number from 0 up, or −1 for before training."""
        value = self._get(key)
        return value if type(value) is int and value == BEFORE_TRAINING else _whole(value, key)

    def number(self, key: str) -> float:
        """A number; null is NaN."""
        value = self._get(key)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key!r} must be a number, not {_short(value)}")
        return _real(value, key)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise ValueError(f"{key!r} must be true or false, not {_short(value)}")
        return value

    def text(self, key: str) -> str:
        """A string."""
        value = self._get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key!r} must be text, not {_short(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return _texts(self._get(key), key)

    def text_lists(self, key: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of strings."""
        return tuple(_texts(item, key) for item in _listed(self._get(key), key))

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers from 0 up."""
        return tuple(_whole(item, key) for item in _listed(self._get(key), key))

    def pair_lists(self, key: str) -> tuple[tuple[tuple[int, int], ...], ...]:
        """A list of lists of pairs of whole numbers from 0 up."""
        return tuple(
            tuple(_pair(item, key) for item in _listed(items, key)) for items in _listed(self._get(key), key)
        )

    def nested(self, key: str) -> "Fields":
        """The keys of an object inside this one."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise ValueError(f"{key!r} must be an object, not {_short(value)}")
        return Fields(value)

    def array(self, key: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        """A flat list of numbers as a 32-bit array of the given shape; null is NaN."""
        values = self._as_many(key, shape)
        if not all(value is None or type(value) in (int, float) for value in values):
            raise ValueError(f"{key!r} must be a flat list of numbers, not {_short(values)}")
        try:
            numbers = np.array([math.nan if value is None else value for value in values], np.float64)
        except OverflowError as problem:
            raise ValueError(f"{key!r} holds a number too large for a float") from problem
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32).reshape(shape)

    def counts(self, key: str, shape: tuple[int, ...]) -> Int[np.ndarray, "..."]:
        """A flat list of whole numbers from 0 up as an array of the given shape."""
        return np.array([_whole(item, key) for item in self._as_many(key, shape)], np.int64).reshape(shape)

    def flags(self, key: str, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
        """A flat list of true and false as an array of the given shape."""
        values = self._as_many(key, shape)
        if not all(isinstance(value, bool) for value in values):
            raise ValueError(f"{key!r} must be a flat list of true and false, not {_short(values)}")
        return np.array(values, bool).reshape(shape)

    def _as_many(self, key: str, shape: tuple[int, ...]) -> list[Any]:
        """A list with one value for each cell of the shape."""
        values = _listed(self._get(key), key)
        if len(values) != math.prod(shape):
            raise ValueError(
                f"{key!r} holds {len(values)} values and the shape {list(shape)} needs {math.prod(shape)}"
            )
        return values

    def _get(self, key: str) -> Any:
        if key not in self._values:
            raise ValueError(f"{key!r} is missing")
        self._read.add(key)
        return self._values[key]


def _real(value: int | float, key: str) -> float:
    try:
        return float(value)
    except OverflowError as problem:
        raise ValueError(f"{key!r} holds a number too large for a float") from problem


def _whole(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError(f"{key!r} must be a whole number from 0 up, not {_short(value)}")
    return value


def _listed(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{key!r} must be a list, not {_short(value)}")
    return value


def _pair(value: Any, key: str) -> tuple[int, int]:
    items = _listed(value, key)
    if len(items) != 2:
        raise ValueError(f"{key!r} must hold pairs [layer, head], not {_short(value)}")
    return _whole(items[0], key), _whole(items[1], key)


def _texts(value: Any, key: str) -> tuple[str, ...]:
    items = _listed(value, key)
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{key!r} must be a list of texts, not {_short(value)}")
    return tuple(items)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
