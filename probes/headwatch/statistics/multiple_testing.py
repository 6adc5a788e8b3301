"""Which of many effects are there: the false discovery rate (Benjamini & Hochberg 1995).

Of 144 heads that do nothing, about 7 have a 95 % interval that leaves out 0. Marking by the false discovery rate
instead keeps the share of marks that stand on nothing, averaged over such pictures, at or below q.
"""

import numpy as np
from jaxtyping import Bool, Num


def benjamini_hochberg(p: Num[np.ndarray, "*shape"], q: float = 0.05) -> Bool[np.ndarray, "*shape"]:
    """Which of many p-values are significant at a false discovery rate of q.

    The k smallest are, for the largest k at which the k-th is at most q · k / number of p-values. That holds for
    tests that are independent or positively dependent.

    Args:
        p: the p-values of all tests that were made, any shape; NaN where none could be, which is never significant
            and doesn't count as a test.
        q: the share of false ones among those that are marked, averaged over repetitions.

    Raises:
        ValueError: a q that is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: give a share between 0 and 1, such as 0.05")
    tested = np.sort(p[~np.isnan(p)])
    enough = tested <= q * np.arange(1, len(tested) + 1) / max(len(tested), 1)
    if not enough.any():
        return np.zeros(p.shape, dtype=bool)
    return p <= tested[enough].max()


def expected_false_alarms(p: Num[np.ndarray, "*shape"], level: float = 0.05) -> float:
    """How many of many p-values would be at most `level` by chance, if there were no effect anywhere.

    With 144 heads and a level of 0.05 that is 7.2: as many marks as these say nothing.

    Args:
        p: the p-values of all tests that were made, any shape; NaN where none could be, which doesn't count.
        level: what a p-value must not exceed to be marked.

    Raises:
        ValueError: a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a share between 0 and 1, such as 0.05")
    return level * int((~np.isnan(p)).sum())


def expected_marks_by_chance(p: Num[np.ndarray, "*shape"], q: float = 0.05) -> float:
    """How many of many p-values `benjamini_hochberg` would mark by chance, if there were no effect anywhere.

    0.055 at q = 0.05, however many tests there are: one such picture in 20 has a mark. For independent tests
    (Finner & Roters 2001).

    Args:
        p: the p-values of all tests that were made, any shape; NaN where none could be, which doesn't count.
        q: the false discovery rate.

    Raises:
        ValueError: a q that is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: give a share between 0 and 1, such as 0.05")
    n = int((~np.isnan(p)).sum())
    if n == 0:
        return 0.0
    # The sum over k of k q^k (n − 1)! / ((n − k)! n^(k − 1)).
    falling = np.cumprod(np.concatenate([[1.0], q * (1 - np.arange(1, n) / n)]))
    return float(q * (np.arange(1, n + 1) * falling).sum())
