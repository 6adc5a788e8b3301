"""Attention maps in one byte a weight, the part above the diagonal left out.

A causal map of T tokens has T(T+1)/2 weights that can differ from 0. Each is rounded to 1/255, so that unpacking
is off by at most 0.002.
"""

import numpy as np
from jaxtyping import Float, UInt8


def pack(maps: Float[np.ndarray, "*lead token token"]) -> UInt8[np.ndarray, "*lead packed"]:
    """The lower triangle of each map, row by row, in steps of 1/255.

    Raises:
        ValueError: a weight is outside [0, 1] or not a number.
    """
    rows, columns = np.tril_indices(maps.shape[-1])
    weights = maps[..., rows, columns]
    # A softmax in half precision may overshoot 1 by its rounding.
    if not ((weights >= 0) & (weights <= 1.01)).all():
        raise ValueError("attention weights must lie in [0, 1]: pass the pattern, not the scores")
    return np.clip(np.rint(weights * 255), 0, 255).astype(np.uint8)


def unpack(packed: UInt8[np.ndarray, "*lead packed"]) -> Float[np.ndarray, "*lead token token"]:
    """The maps that `pack` was given, to within 0.002; 0 above the diagonal.

    Raises:
        ValueError: the last axis is no triangular number long.
    """
    size = packed.shape[-1]
    tokens = int(((8 * size + 1) ** 0.5 - 1) / 2)
    if tokens * (tokens + 1) // 2 != size:
        raise ValueError(f"{size} weights are no lower triangle of a square map")
    maps = np.zeros((*packed.shape[:-1], tokens, tokens), np.float32)
    rows, columns = np.tril_indices(tokens)
    maps[..., rows, columns] = packed / np.float32(255)
    return maps
