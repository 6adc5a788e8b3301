"""Things known by name: metrics, tasks, trackers and questions are registered and looked up in one way."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A read-only mapping of names, to which `register` adds.

    Example::

        METRICS: Registry[Metric] = Registry("metric")
        METRICS.register("loss", Metric(...))

        @TASKS.register("ioi")
        def ioi(tokenizer, n=64, seed=0): ...

    Args:
        what: what is registered, for sentences such as "unknown metric 'x'; known: ...".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._known: dict[str, T] = {}

    def register(self, name: str, value: T | None = None) -> Any:
        """Make a value known by a name; without a value, a decorator for a function or class.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._known:
            raise ValueError(f"{self.what} {name!r} is registered already: give this one another name")
        if value is None:
            return self._decorator(name)
        self._known[name] = value
        return value

    def _decorator(self, name: str) -> Callable[[T], T]:
        def register(value: T) -> T:
            self.register(name, value)
            return value

        return register

    def find(self, name: str, hint: str = "") -> T:
        """The value of a name.

        Args:
            name: the name.
            hint: what else would work, to end the sentence with.

        Raises:
            ValueError: nothing has this name; the message lists what has.
        """
        if name not in self._known:
            raise unknown(self.what, name, self._known, hint)
        return self._known[name]

    def __getitem__(self, name: str) -> T:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"Registry of {self.what}s: {', '.join(self._known)}"


def unknown(
    what: str, value: object, known: Mapping[str, Any] | tuple[str, ...], hint: str = ""
) -> ValueError:
    """The error for a name that is none of the known ones: "unknown kind 'meen'; known: zero, mean"."""
    return ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}{hint}")


def one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    """The value, if it is one of the known ones.

    Raises:
        ValueError: it is none of them.
    """
    if value not in known:
        raise unknown(what, value, known)
    return value
