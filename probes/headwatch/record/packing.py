"""Attention maps in one byte a weight, the part above the diagonal left out.

A causal map of T tokens has T(T+1)/2 weights that can differ from 0. Each is rounded to 1/255, so that unpacking
is off by at most 0.002. A query whose weights are no numbers, as in a model that has diverged, is a row of 255s, the
first query a 0: no softmax has two weights of 1, or a single weight of 0.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8


def pack(maps: Float[np.ndarray, "*lead token token"]) -> UInt8[np.ndarray, "*lead packed"]:
    """The lower triangle of each map, row by row, in steps of 1/255; a row with NaN in it is missing as a whole.

    Raises:
        ValueError: a weight is outside [0, 1], or a row can't be what a softmax gives.
    """
    rows, columns = np.tril_indices(maps.shape[-1])
    weights = maps[..., rows, columns]
    missing = np.isnan(np.tril(maps)).any(-1)
    known = np.where(missing[..., rows], 0, weights)
    # A softmax in half precision may overshoot 1 by its rounding.
    if not ((known >= 0) & (known <= 1.01)).all():
        raise ValueError("attention weights must lie in [0, 1]: pass the pattern, not the scores")
    packed = np.clip(np.rint(known * 255), 0, 255).astype(np.uint8)
    if (_missing(packed) & ~missing).any():
        raise ValueError("the attention weights of a query must sum to 1: pass the pattern, not the scores")
    return np.where(missing[..., rows], np.where(rows == 0, 0, 255), packed).astype(np.uint8)


def unpack(packed: UInt8[np.ndarray, "*lead packed"]) -> Float[np.ndarray, "*lead token token"]:
    """The maps that `pack` was given, to within 0.002; 0 above the diagonal, NaN below it in a missing row.

    Raises:
        ValueError: the last axis is no triangular number long.
    """
    size = packed.shape[-1]
    tokens = int(((8 * size + 1) ** 0.5 - 1) / 2)
    if tokens * (tokens + 1) // 2 != size:
        raise ValueError(f"{size} weights are no lower triangle of a square map")
    maps = np.zeros((*packed.shape[:-1], tokens, tokens), np.float32)
    rows, columns = np.tril_indices(tokens)
    maps[..., rows, columns] = np.where(_missing(packed)[..., rows], np.nan, packed / np.float32(255))
    return maps


def _missing(packed: UInt8[np.ndarray, "*lead packed"]) -> Bool[np.ndarray, "*lead token"]:
    """The queries whose weights are no numbers."""
    tokens = int((2 * packed.shape[-1]) ** 0.5)
    first = np.arange(1, tokens) * np.arange(2, tokens + 1) // 2
    later = (packed[..., first] == 255) & (packed[..., first + 1] == 255)
    return np.concatenate([packed[..., :1] == 0, later], -1)
