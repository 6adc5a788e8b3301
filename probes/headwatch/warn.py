"""Warnings that point at the user's own line, however deep in headwatch they arise."""

import sys
import warnings

# What stands between the user's line and the warning: type checks and cached properties have frames of their own.
_NOT_THE_USERS = ("headwatch", "headwatch_callbacks", "jaxtyping", "beartype", "functools")


def warn_user(message: str) -> None:
    """Issue a `RuntimeWarning` at the line that called headwatch."""
    frame, level = sys._getframe(0), 1
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] in _NOT_THE_USERS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)
