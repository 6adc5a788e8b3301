"""The passes of one question as the page wants them: values, intervals, marks, and what is estimated."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from headwatch.page.packed import bits, counts, halves, number
from headwatch.page.shortened import shortened
from headwatch.record import EffectEntry
from headwatch.record.coords import coords_to_json
from headwatch.statistics.intervals import p_values, t_factor
from headwatch.statistics.multiple_testing import benjamini_hochberg

Item = TypeVar("Item")


def series_payload(entries: Sequence[EffectEntry], total: int) -> dict[str, Any]:
    """Passes of one question, in the order of their steps.

    Args:
        entries: the passes to show.
        total: how many there are, some of which may have been left out.
    """
    per_pass = ("baseline", "clean", "corrupted", "seconds", "cost", "overhead")
    return {
        **question_payload(entries[0]),
        "total": total,
        "steps": [entry.step for entry in entries],
        "n": [entry.n for entry in entries],
        **{name: [number(getattr(entry, name)) for entry in entries] for name in per_pass},
        "mean": halves([entry.mean for entry in entries]),
        "half": halves([*_half_widths(entries)]) if has_error(entries) else None,
        "marks": _marks(entries) if has_error(entries) else None,
        "estimates": _estimates(entries),
    }


def question_payload(entry: EffectEntry) -> dict[str, Any]:
    """What a pass asked and of which cells; the page tells series apart by it."""
    names = ("label", "probe", "site", "kind", "metric")
    cells = {"dims": entry.dims, "shape": entry.mean.shape, "coords": coords_to_json(entry.coords)}
    asked = {name: shortened(getattr(entry, name)) for name in names}
    return asked | {"first_order": is_first_order(entry)} | cells


def same_question(entries: Iterable[EffectEntry]) -> list[list[EffectEntry]]:
    """Passes by what they asked, each by step.

    A label that changed its question, its shape or its places between passes is shown as two series.
    """

    def asked(entry: EffectEntry) -> str:
        return str(question_payload(entry))

    ordered = sorted(entries, key=asked)
    return [sorted(group, key=lambda entry: entry.step) for _, group in groupby(ordered, asked)]


def keyframes(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` items, evenly spaced, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    if limit < 2:
        return [items[-1]][:limit]
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def is_first_order(entry: EffectEntry) -> bool:
    """Whether the pass ran nothing exactly: an estimate by gradients alone."""
    return not entry.exact and entry.n_exact is None


def has_error(entries: Sequence[EffectEntry]) -> bool:
    """Whether any cell of any pass has a standard error."""
    return any(np.isfinite(entry.stderr).any() for entry in entries)


def _degrees_of_freedom(entry: EffectEntry) -> Float[np.ndarray, "..."]:
    return entry.t_degrees_of_freedom.ravel().astype(np.float64)


def interval_half(
    stderr: Float[np.ndarray, "*dims"], degrees_of_freedom: Float[np.ndarray, "*dims"]
) -> Float[np.ndarray, "*dims"]:
    """How far each 95 % interval reaches to either side."""
    # Student's t is slow to look up, and most cells of most passes have the same.
    freedom, place = np.unique(degrees_of_freedom, return_inverse=True)
    return np.asarray(t_factor(freedom)[place.reshape(stderr.shape)] * stderr)


def _half_widths(entries: Sequence[EffectEntry]) -> Float[np.ndarray, "step cell"]:
    stderr = np.stack([entry.stderr.ravel() for entry in entries])
    return interval_half(stderr, np.stack([_degrees_of_freedom(entry) for entry in entries]))


def _marks(entries: Sequence[EffectEntry]) -> list[str]:
    """A bit per cell: whether it stands out at a false discovery rate of 5 %."""
    mean = np.stack([entry.mean.ravel() for entry in entries])
    stderr = np.stack([entry.stderr.ravel() for entry in entries])
    freedom = np.stack([_degrees_of_freedom(entry) for entry in entries])
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
