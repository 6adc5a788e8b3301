"""The passes of one question as the page wants them: values, intervals, marks, and what is estimated."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from headwatch.page.packed import bits, counts, halves, number
from headwatch.record import EffectEntry
from headwatch.record.coords import coords_to_json
from headwatch.statistics.intervals import p_values, t_factor
from headwatch.statistics.multiple_testing import benjamini_hochberg


def series_payload(entries: Sequence[EffectEntry], total: int) -> dict[str, Any]:
    """Passes of one question, in the order of their steps.

    Args:
        entries: the passes to show.
        total: how many there are, some of which may have been left out.
    """
    first = entries[0]
    question = {name: getattr(first, name) for name in ("label", "probe", "site", "kind", "metric", "dims")}
    per_pass = ("baseline", "clean", "corrupted", "seconds", "cost", "overhead")
    return {
        **question,
        "first_order": is_first_order(first),
        "shape": first.mean.shape,
        "coords": coords_to_json(first.coords),
        "total": total,
        "steps": [entry.step for entry in entries],
        "n": [entry.n for entry in entries],
        **{name: [number(getattr(entry, name)) for entry in entries] for name in per_pass},
        "mean": halves([entry.mean for entry in entries]),
        "half": halves(_half_widths(entries)) if has_error(entries) else None,
        "marks": _marks(entries) if has_error(entries) else None,
        "estimates": _estimates(entries),
    }


def is_first_order(entry: EffectEntry) -> bool:
    """Whether the pass ran nothing exactly: an estimate by gradients alone."""
    return not entry.exact and entry.n_exact is None


def has_error(entries: Sequence[EffectEntry]) -> bool:
    """Whether any cell of any pass has a standard error."""
    return any(np.isfinite(entry.stderr).any() for entry in entries)


def _degrees_of_freedom(entry: EffectEntry) -> Float[np.ndarray, "..."]:
    # One number for a whole pass is a hundred times faster to look up than the same number for each cell.
    own = entry.degrees_of_freedom
    return np.array([max(entry.n - 1, 0)], np.float64) if own is None else own.ravel().astype(np.float64)


def _half_widths(entries: Sequence[EffectEntry]) -> list[Float[np.ndarray, " cell"]]:
    """How far each cell's 95 % interval reaches to either side."""
    return [t_factor(_degrees_of_freedom(entry)) * entry.stderr.ravel() for entry in entries]


def _marks(entries: Sequence[EffectEntry]) -> list[str]:
    """A bit per cell: whether it stands out at a false discovery rate of 5 %."""
    mean = np.stack([entry.mean.ravel() for entry in entries])
    stderr = np.stack([entry.stderr.ravel() for entry in entries])
    freedom = np.stack([np.broadcast_to(_degrees_of_freedom(entry), mean.shape[1:]) for entry in entries])
    return [bits(benjamini_hochberg(p, 0.05)) for p in p_values(mean, stderr, freedom)]


def _estimates(entries: Sequence[EffectEntry]) -> dict[str, Any] | None:
    """What only estimates have, a place for each pass; None where all passes ran every pair, or none."""
    if all(entry.n_exact is None for entry in entries):
        return None
    unknown = np.full(entries[0].mean.shape, np.nan, np.float32)
    explained = [unknown if entry.covariate_r2 is None else entry.covariate_r2 for entry in entries]
    return {
        "n_exact": [None if entry.n_exact is None else counts(entry.n_exact) for entry in entries],
        "suspect": [None if entry.suspect is None else bits(entry.suspect) for entry in entries],
        "covariate": [entry.covariate for entry in entries],
        "explained": halves(explained),
    }
