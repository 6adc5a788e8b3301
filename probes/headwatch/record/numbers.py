"""Numbers as JSON has them: rounded to 32-bit floats; what it has no word for (NaN, infinities) is null.

A reader takes null as NaN; see `Fields`.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float


def numbers(values: Float[np.ndarray, "..."]) -> list[float | None]:
    """A flat list in row-major order; floats in the fewest digits that give the same 32-bit float."""
    flat: Iterable[np.float32] = np.asarray(values, np.float32).ravel()
    return [float(str(value)) if np.isfinite(value) else None for value in flat]


def number(value: float | None) -> float | None:
    """A number, or None where there is none or JSON has no word for it."""
    return float(value) if value is not None and np.isfinite(value) else None
