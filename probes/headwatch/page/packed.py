"""Arrays as text that a browser reads fast: base64 of half-precision floats, of whole numbers, of bits."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


def halves(arrays: Sequence[Float[np.ndarray, "..."]]) -> dict[str, Any]:
    """Arrays of one shape in half precision, divided by the largest finite magnitude of them all."""
    values = np.stack([array.ravel() for array in arrays])
    finite = np.abs(values[np.isfinite(values)])
    scale = float(finite.max(initial=0.0)) or 1.0
    packed = (values / np.float32(scale)).astype("<f2")
    return {"scale": scale, "data": _text(packed)}


def bits(flags: Bool[np.ndarray, "..."]) -> str:
    """A bit a cell, the first the highest of its byte."""
    return _text(np.packbits(flags))


def counts(values: Int[np.ndarray, "..."]) -> str:
    """Whole numbers from 0 to 65,535, two bytes each, the lower one first; more is shown as 65,535."""
    return _text(np.minimum(values, 65_535).astype("<u2"))


def number(value: float | None) -> float | None:
    """Six digits; None for what is no number."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
