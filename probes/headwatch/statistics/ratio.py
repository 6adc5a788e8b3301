"""The interval of a ratio of two means over the same pairs (Fieller 1954).

A ratio such as "share of the clean answer that is restored" divides by a difference that was measured too. Where
that difference is small against its own error, the ratio may be anything, and its interval says so.
"""

import numpy as np
from jaxtyping import Float

from headwatch.statistics.intervals import t_factor

Ends = Float[np.ndarray, "*dims"]


def fieller_interval(
    numerator: Float[np.ndarray, "pair *dims"], denominator: Float[np.ndarray, " pair"], level: float = 0.95
) -> tuple[Ends, Ends]:
    """The lower and upper end of mean(numerator) / mean(denominator), for each of many numerators.

    The interval holds every ratio r for which the mean of numerator − r · denominator is no further from 0 than its
    own t interval reaches. It is exact for normally distributed pairs, and needn't be symmetric.

    Args:
        numerator: `[pair, *dims]`.
        denominator: of the same pairs, `[pair]`.
        level: the share of such intervals that hold the true ratio.

    Returns:
        both `[*dims]`: −∞ and ∞ where the denominator's own interval holds 0, NaN for a single pair.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    n = len(denominator)
    t = float(t_factor(n - 1, level))
    below = denominator.reshape(n, *[1] * (numerator.ndim - 1))
    above_mean, below_mean = numerator.mean(0), below.mean(0)
    above_rest, below_rest = numerator - above_mean, below - below_mean
    scale = t * t / (n * max(n - 1, 1))
    a = below_mean**2 - scale * (below_rest**2).sum(0)
    b = above_mean * below_mean - scale * (above_rest * below_rest).sum(0)
    c = above_mean**2 - scale * (above_rest**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.sqrt(np.maximum(b * b - a * c, 0))
        low, high = (b - reach) / a, (b + reach) / a
    bounded, known = a > 0, np.isfinite(b + c) & np.isfinite(a)
    return (
        np.where(known, np.where(bounded, low, -np.inf), np.nan),
        np.where(known, np.where(bounded, high, np.inf), np.nan),
    )
