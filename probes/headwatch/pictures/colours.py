"""Colours of values: a scale through 0 and one from 0 up, which stay apart for every form of colour blindness.

Blue, white and red are ColorBrewer's RdBu, white to dark blue its Blues (Brewer 2003).
"""

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

DIVERGING = "#053061 #2166ac #4393c3 #92c5de #d1e5f0 #f7f7f7 #fddbc7 #f4a582 #d6604d #b2182b #67001f"
SEQUENTIAL = "#f7fbff #deebf7 #c6dbef #9ecae1 #6baed6 #4292c6 #2171b5 #08519c #08306b"
MISSING = "#b4b4b4"
INK, FAINT, PAPER, LINE = "#1f2328", "#656d76", "#ffffff", "#d0d7de"


def diverging(values: Float[np.ndarray, "*shape"], limit: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Colours of values on a scale from −limit (blue) through 0 (white) to limit (red); grey for NaN.

    Args:
        values: what to colour, any shape.
        limit: the value at the ends of the scale; values beyond it get the colour of the end.
    """
    return _colours(DIVERGING, (values / (limit or 1.0) + 1) / 2)


def sequential(values: Float[np.ndarray, "*shape"], limit: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Colours of values on a scale from 0 (white) to limit (dark blue); grey for NaN."""
    return _colours(SEQUENTIAL, values / (limit or 1.0))


def largest(values: Float[np.ndarray, "*shape"]) -> float:
    """The largest finite magnitude; 0 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def ink_on(colour: UInt8[np.ndarray, "3"]) -> str:
    """What can be read on a colour: dark on light, white on dark."""
    return PAPER if colour.mean() < 140 else INK


def rgb(colour: str) -> list[int]:
    """The three parts, 0 to 255, of a colour such as `#053061`."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@cache
def _table(anchors: str) -> np.ndarray:
    """256 colours through the anchors, evenly spaced, `[256, 3]`."""
    points = np.array([rgb(anchor) for anchor in anchors.split()], dtype=float)
    places = np.linspace(0, len(points) - 1, 256)
    return np.stack([np.interp(places, np.arange(len(points)), channel) for channel in points.T], 1).round()


def _colours(anchors: str, fractions: np.ndarray) -> np.ndarray:
    finite = np.isfinite(fractions)
    index = np.rint(np.where(finite, fractions, 0).clip(0, 1) * 255).astype(int)
    return np.where(finite[..., None], _table(anchors)[index], rgb(MISSING)).astype(np.uint8)
