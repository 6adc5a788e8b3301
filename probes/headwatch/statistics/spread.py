"""In how many of the values their spread lies: the means of such samples are as uncertain as those of so few."""

import numpy as np
from jaxtyping import Float


def share_of_spread(values: Float[np.ndarray, "pair cell"]) -> Float[np.ndarray, " cell"]:
    """The share of values that their spread lies in: (Σ d²)² / (n Σ d⁴), with d from the mean; about 1/3 if normal.

    It is 1 over the sample's kurtosis; where all but m of n values are alike, about m / n. Student's t supposes that
    the variance of a sample is that of its law, which it cannot be where a few values make all of it. In simulations
    on trained models, 95 % intervals of 64 pairs held as often as 0.72 (the exact sweep's too) for heads whose spread
    lay in fewer than 8 pairs, and 0.91 or more for all others.

    Args:
        values: `[pair, cell]`; NaN where there is none.

    Returns:
        the share, `[cell]`; 1 where all values are alike.
    """
    present = ~np.isnan(values)
    n = np.maximum(present.sum(0), 1)
    apart = np.where(present, values - np.where(present, values, 0.0).sum(0) / n, 0.0)
    largest = np.abs(apart).max(0)
    scaled = apart / np.where(largest > 0, largest, 1.0)
    return np.where(largest > 0, (scaled**2).sum(0) ** 2 / np.maximum(n * (scaled**4).sum(0), 1e-300), 1.0)
