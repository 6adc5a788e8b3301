"""One sentence for whatever a library raises on a file that it can't read."""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 300
# What a library that took its input for sound stumbles over: its words speak of its own code.
_STUMBLES = (AttributeError, TypeError, LookupError, ArithmeticError, AssertionError)


@contextmanager
def reading(what: str, instead: str) -> Iterator[None]:
    """Turn any error that is raised inside into a ValueError: what can't be read, why, and what would work.

    Only calls of a library that reads `what` belong inside, since a mistake of ours would be blamed on the file.

    Example:
        >>> with reading("run/config.json", "save the model again"):
        ...     json.loads("{")
        Traceback (most recent call last):
            ...
        ValueError: run/config.json can't be read (Expecting property name enclosed in double quotes: line 1 ...

    Args:
        what: the file or folder, and what it was taken for.
        instead: what would work.

    Raises:
        ValueError: the library can't read it.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a library written in Rust panics with a BaseException
        raise ValueError(f"{what} can't be read ({reason(error)}): {instead}") from error


def reason(error: BaseException) -> str:
    """What an error says, in one line; of one that speaks of the library's own code, that it does."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines or [type(error).__name__])[0]
    if said.endswith(":") and len(lines) > 1:
        said = f"{said} {lines[1]}"
    said = said.rstrip(".:")
    said = said if len(said) <= _LONGEST else said[:_LONGEST] + "…"
    return f"it is not built as expected: {said}" if isinstance(error, _STUMBLES) else said
