"""Since when a training has diverged, by the losses in its record."""

import numpy as np

from headwatch.record.reader import Record


def not_finite_since(record: Record, step: int) -> int | None:
    """The first step from which on every loss of the record up to a step is no number.

    Args:
        record: the record.
        step: the last step that counts.

    Returns:
        The step, as far as losses were written: the training may have diverged in the steps between two of them. None
        where the last loss up to there is a number, or there is none.
    """
    found = []
    for name, series in record.scalars.items():
        known = series.steps <= step
        finite = np.isfinite(series.values[known])
        if "loss" in name and finite.size and not finite[-1]:
            after = np.flatnonzero(finite)
            found.append(int(series.steps[known][after[-1] + 1 if after.size else 0]))
    return min(found, default=None)
