"""The one meaning of an interval and of a p-value here: Student's t, two-sided (Student 1908).

A mean over n pairs has a standard error that was itself estimated from those n pairs. Student's t allows for that,
a normal distribution does not: at 95 % the interval of 3 pairs is ± 4.30 standard errors, that of 8 pairs ± 2.36,
and ± 1.96 is reached only as the pairs become many. Degrees of freedom are n − 1; they may be fractional and differ
from one value to the next, as Welch and Satterthwaite's approximation needs.

Everything is computed in float64 and for whole arrays at once.
"""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Num

Array = Float[np.ndarray, "..."]
Numbers = int | float | Num[np.ndarray, "..."]

_MANY = 1e5  # degrees of freedom from which on a corrected normal distribution is exact to 1e-9
_ENDLESS = 1e15  # degrees of freedom that stand for infinitely many
_SERIES = 200.0  # from which argument on Stirling's series is exact
_lgamma = np.vectorize(math.lgamma, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])
_normal_quantile = np.vectorize(NormalDist().inv_cdf, otypes=[float])


def interval(
    mean: Num[np.ndarray, "*shape"],
    stderr: Num[np.ndarray, "*shape"],
    degrees_of_freedom: Numbers,
    level: float = 0.95,
) -> tuple[Array, Array]:
    """The lower and the upper end of each mean's interval, mean ± t · stderr.

    Args:
        mean: the means, any shape.
        stderr: their standard errors, same shape; NaN where there is none, which gives NaN.
        degrees_of_freedom: n − 1 for a mean over n pairs; one number, or one for each mean.
        level: the share of such intervals that hold the true mean.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    half = half_width(stderr, degrees_of_freedom, level)
    return np.asarray(mean - half), np.asarray(mean + half)


def half_width(stderr: Num[np.ndarray, "*shape"], degrees_of_freedom: Numbers, level: float = 0.95) -> Array:
    """Half of each interval's width, t · stderr; see `interval`.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    return np.asarray(t_factor(degrees_of_freedom, level) * np.asarray(stderr, np.float64))


def t_factor(degrees_of_freedom: Numbers, level: float = 0.95) -> Array:
    """How many standard errors an interval of this level reaches to either side: 12.7 at 1 degree of freedom.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a share between 0 and 1, such as 0.95")
    return t_quantile((1 + level) / 2, degrees_of_freedom)


def p_values(
    mean: Num[np.ndarray, "*shape"], stderr: Num[np.ndarray, "*shape"], degrees_of_freedom: Numbers
) -> Array:
    """How probable a mean at least as far from 0 is where the true mean is 0.

    An effect that is 0 in every pair has p = 1; one that is the same other number in every pair has p = 0.

    Args:
        mean: the means, any shape.
        stderr: their standard errors, same shape; NaN gives NaN.
        degrees_of_freedom: n − 1 for a mean over n pairs; one number, or one for each mean.
    """
    means, errors = np.asarray(mean, np.float64), np.asarray(stderr, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = np.where((means == 0) & (errors == 0), 0.0, means / errors)
    return _both_tails(np.abs(t), _freedom(degrees_of_freedom))


def t_cdf(t: Numbers, degrees_of_freedom: Numbers) -> Array:
    """The probability that Student's t is at most `t`; either argument may be an array.

    Raises:
        ValueError: degrees of freedom below 0.
    """
    values = np.asarray(t, np.float64)
    tail = _both_tails(np.abs(values), _freedom(degrees_of_freedom)) / 2
    return np.where(values > 0, 1 - tail, tail)


def t_quantile(probability: Numbers, degrees_of_freedom: Numbers) -> Array:
    """The value that Student's t stays below with this probability; the inverse of `t_cdf`.

    NaN without a degree of freedom: a single pair has no interval.

    Raises:
        ValueError: a probability that is not between 0 and 1, or degrees of freedom below 0.
    """
    wanted, freedom = np.broadcast_arrays(np.asarray(probability, np.float64), _freedom(degrees_of_freedom))
    if not ((wanted > 0) & (wanted < 1)).all():
        raise ValueError(f"probability={probability}: give one between 0 and 1")
    # The same few degrees of freedom stand for thousands of heads: each is solved for once.
    cases, place = np.unique(np.stack([wanted.ravel(), freedom.ravel()]), axis=1, return_inverse=True)
    tail = np.minimum(cases[0], 1 - cases[0])
    return (np.sign(cases[0] - 0.5) * _upper_quantile(tail, cases[1]))[place].reshape(wanted.shape)


def _freedom(degrees_of_freedom: Numbers) -> Array:
    """Degrees of freedom as an array, NaN where there are none."""
    freedom = np.asarray(degrees_of_freedom, np.float64)
    if (freedom < 0).any():
        raise ValueError(f"degrees_of_freedom={degrees_of_freedom}: they can't be negative")
    return np.where(freedom > 0, np.minimum(freedom, _ENDLESS), np.nan)


def _upper_quantile(tail: Array, freedom: Array) -> Array:
    """The t that is exceeded with probability `tail` ≤ 1/2, by Newton's method on log t and log probability.

    Between these two the curve falls and is concave, so that the first step from any place lands to the right of
    the solution and all others come down to it.
    """
    z = np.maximum(-_normal_quantile(tail), 1e-300)
    log_t = np.log(z)
    for _ in range(100):
        t = np.exp(log_t)
        above = _both_tails(t, freedom) / 2
        step = np.log(above / tail) * above / (t * _density(t, freedom))
        log_t += np.where(np.isfinite(step), step, 0)
        if not (np.abs(step) > 1e-14).any():
            break
    found = np.where(tail == 0.5, 0.0, np.exp(log_t))
    return np.where(np.isnan(freedom), np.nan, found)


def _density(t: Array, freedom: Array) -> Array:
    log_kernel = -(freedom + 1) / 2 * np.log1p(t * t / freedom)
    return np.exp(log_kernel - 0.5 * np.log(freedom) - _log_beta_half(freedom / 2))


def _both_tails(t: Numbers, freedom: Numbers) -> Array:
    """P(|T| ≥ t) for t ≥ 0: the regularised incomplete beta function at freedom / (freedom + t²)."""
    t, freedom = np.broadcast_arrays(t, freedom)
    flat_t, flat_freedom = t.ravel(), freedom.ravel()
    many = flat_freedom > _MANY
    result = np.full(flat_t.shape, np.nan)
    result[many] = _both_tails_of_many(flat_t[many], flat_freedom[many])
    few = ~many & ~np.isnan(flat_t) & ~np.isnan(flat_freedom)
    result[few] = _incomplete_beta(flat_t[few], flat_freedom[few])
    return result.reshape(t.shape)


def _both_tails_of_many(t: Array, freedom: Array) -> Array:
    """The same by a normal distribution with a correction (Abramowitz & Stegun 1964, 26.7.8)."""
    z = t * (1 - 1 / (4 * freedom)) / np.sqrt(1 + t * t / (2 * freedom))
    return _erfc(z / math.sqrt(2))


def _incomplete_beta(t: Array, freedom: Array) -> Array:
    """I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t²), from the side on which the fraction converges."""
    with np.errstate(over="ignore", divide="ignore"):
        log_x = -np.log1p(t * t / freedom)
        log_rest = -np.log1p(freedom / (t * t))
    a, b = freedom / 2, np.full_like(freedom, 0.5)
    log_front = np.where(np.isinf(log_x), -np.inf, a * log_x) + 0.5 * log_rest - _log_beta_half(a)
    front = np.exp(np.where(np.isnan(log_front), -np.inf, log_front))
    x, rest = np.exp(log_x), np.exp(log_rest)
    swap = x > (a + 1) / (a + b + 2)
    value = front * _continued_fraction(np.where(swap, rest, x), np.where(swap, b, a), np.where(swap, a, b))
    return np.where(swap, 1 - value, value)


def _continued_fraction(x: Array, a: Array, b: Array) -> Array:
    """1/a times the continued fraction of the incomplete beta function (Abramowitz & Stegun 1964, 26.5.8).

    By Lentz's method (1976), as Thompson and Barnett (1986) modified it.
    """
    numerator = np.ones_like(x)
    denominator = 1 / (1 - (a + b) * x / (a + 1))
    product = denominator
    for m in range(1, 2000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _not_zero(1 + term * denominator)
            numerator = _not_zero(1 + term / numerator)
            product = product * (denominator * numerator)
        if not (np.abs(denominator * numerator - 1) > 1e-15).any():
            break
    return product / a


def _not_zero(values: Array) -> Array:
    return np.where(np.abs(values) < 1e-300, 1e-300, values)


def _log_beta_half(a: Array) -> Array:
    """log B(a, 1/2), from log Γ where a is small and from Stirling's series where log Γ would lose digits."""
    unique, place = np.unique(a, return_inverse=True)
    small = np.minimum(unique, _SERIES)
    exact = _lgamma(small + 0.5) - _lgamma(small)
    large = np.maximum(unique, _SERIES)
    series = 0.5 * np.log(large) - 1 / (8 * large) + 1 / (192 * large**3) - 1 / (640 * large**5)
    log_ratio = np.where(unique < _SERIES, exact, series)
    return (math.lgamma(0.5) - log_ratio)[place].reshape(np.shape(a))
