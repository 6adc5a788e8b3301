"""A record as the page wants it: JSON, with arrays as base64 of half-precision floats.

Values are divided by their series' largest magnitude before they are halved, so that an effect is off by at most 0.05 %
however small the series. Attention maps stay in the record's bytes, deflated. 1,000 passes over 144 heads are 0.8 MB.
"""

import base64
import math
import zlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from headwatch.cell_names import counted
from headwatch.record import AttentionEntry, EffectEntry, PromptEntry, Record, ScoreEntry, Series
from headwatch.record.coords import coords_to_json
from headwatch.record.reader import read_packed
from headwatch.statistics.intervals import p_values, t_factor
from headwatch.statistics.multiple_testing import benjamini_hochberg

Item = TypeVar("Item")


def run_payload(record: Record, budget: int | None = None) -> dict[str, Any]:
    """What the page shows of a record, without its attention maps.

    Args:
        record: the record, or what was appended to one.
        budget: the most bytes that the values of all effects and scores may take; where they would take more,
            steps are left out evenly, the first and the last kept. None keeps all.
    """
    groups = [*_effect_groups(record.effects), *_score_groups(record.scores)]
    limits = [len(group) for group in groups] if budget is None else _limits(groups, budget)
    return {
        "name": record.name,
        "model": dict(record.model),
        "series": [_series(group, limit) for group, limit in zip(groups, limits, strict=True)],
        "scalars": [_scalar(name, series) for name, series in record.scalars.items()],
        "frames": [frame_payload(entry) for entry in record.frames],
        "prompts": [_prompts(entry) for entry in record.prompts.values()],
        "notes": [{"level": note.level, "message": note.message} for note in record.notes],
        "problems": list(record.problems),
    }


def frame_payload(entry: AttentionEntry) -> dict[str, Any]:
    """Which attention maps there are, without the maps."""
    return {"step": entry.step, "label": entry.label, "tokens": entry.tokens}


def maps_payload(record: Record, entry: AttentionEntry, prompts: int | None = None) -> dict[str, Any]:
    """The attention maps of the first few prompts of a frame.

    Args:
        record: the record that the frame is in.
        entry: the frame.
        prompts: how many prompts; None for all.

    Raises:
        ValueError: the frame's file is missing or damaged.
    """
    packed = read_packed(record.directory, entry)[:prompts]
    heads = packed[0].shape[:2] if packed else (0, 0)
    data = zlib.compress(b"".join(maps.tobytes() for maps in packed), 9)
    shown = {"tokens": entry.tokens[:prompts], "total": len(entry.tokens)}
    return frame_payload(entry) | shown | {"heads": heads, "maps": base64.b64encode(data).decode()}


def keyframes(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` items, evenly spaced, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    if limit < 2:
        return [items[-1]][:limit]
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _effect_groups(entries: Iterable[EffectEntry]) -> list[list[EffectEntry]]:
    def what(entry: EffectEntry) -> tuple[Any, ...]:
        # A label that changed its question, its shape or its places between passes is shown as two series.
        asked = (entry.label, entry.probe, entry.site, entry.kind, entry.metric, str(entry.exact))
        return (*asked, *entry.dims, *map(str, entry.mean.shape), str(coords_to_json(entry.coords)))

    ordered = sorted(entries, key=what)
    return [sorted(group, key=lambda entry: entry.step) for _, group in groupby(ordered, what)]


def _score_groups(entries: Iterable[ScoreEntry]) -> list[list[EffectEntry]]:
    """Scores as effects without error bars: one series a score."""
    flat = [_score_entry(entry, name) for entry in entries for name in entry.scores]
    return _effect_groups(flat)


def _score_entry(entry: ScoreEntry, name: str) -> EffectEntry:
    values = entry.scores[name]
    return EffectEntry(
        step=entry.step,
        epoch=entry.epoch,
        probe="scores",
        label=entry.label,
        site="pattern",
        kind="score",
        metric=name,
        exact=True,
        dims=("layer", "head"),
        coords=counted(("layer", "head"), values.shape),
        mean=values,
        stderr=np.full_like(values, np.nan),
        n=0,
        baseline=math.nan,
        clean=math.nan,
        corrupted=None,
        seconds=entry.seconds,
    )


def _limits(groups: list[list[EffectEntry]], budget: int) -> list[int]:
    """How many passes of each group fit: small groups whole, the large ones share what is left."""
    limits = [0] * len(groups)
    order = sorted(range(len(groups)), key=lambda i: len(groups[i]) * _pass_size(groups[i]))
    for turn, i in enumerate(order):
        share = budget // (len(order) - turn)
        limits[i] = min(len(groups[i]), max(2, share // _pass_size(groups[i])))
        budget -= limits[i] * _pass_size(groups[i])
    return limits


def _pass_size(entries: list[EffectEntry]) -> int:
    """Characters that one pass of a group takes: two bytes a value in base64, error bars as much again and a mark."""
    return max(1, int(entries[0].mean.size * (4.125 if _has_error(entries) else 2) * 4 / 3))


def _has_error(entries: list[EffectEntry]) -> bool:
    return any(np.isfinite(entry.stderr).any() for entry in entries)


def _series(entries: list[EffectEntry], limit: int) -> dict[str, Any]:
    first = entries[0]
    kept = keyframes(entries, limit)
    return {
        **{
            name: getattr(first, name)
            for name in ("label", "probe", "site", "kind", "metric", "exact", "dims")
        },
        "shape": first.mean.shape,
        "coords": coords_to_json(first.coords),
        "total": len(entries),
        "steps": [entry.step for entry in kept],
        "n": [entry.n for entry in kept],
        "quantile": _quantiles(kept) if _has_error(entries) else None,
        "marks": _marks(kept) if _has_error(entries) else None,
        **{
            name: [_number(getattr(entry, name)) for entry in kept]
            for name in ("baseline", "clean", "seconds")
        },
        "corrupted": [_number(entry.corrupted) for entry in kept],
        "mean": _halves([entry.mean for entry in kept]),
        "stderr": _halves([entry.stderr for entry in kept]) if _has_error(entries) else None,
    }


def _degrees_of_freedom(entries: list[EffectEntry]) -> Int[np.ndarray, " step"]:
    return np.array([max(entry.n - 1, 0) for entry in entries])


def _quantiles(entries: list[EffectEntry]) -> list[float | None]:
    """How many standard errors each pass's 95 % interval reaches to either side."""
    return [_number(factor) for factor in t_factor(_degrees_of_freedom(entries)).tolist()]


def _marks(entries: list[EffectEntry]) -> list[str]:
    """A bit per cell, the first the highest of its byte: whether it stands out at a false discovery rate of 5 %."""
    mean = np.stack([entry.mean.ravel() for entry in entries])
    stderr = np.stack([entry.stderr.ravel() for entry in entries])
    found = p_values(mean, stderr, _degrees_of_freedom(entries)[:, None])
    marked = (np.packbits(benjamini_hochberg(p, 0.05)) for p in found)
    return [base64.b64encode(bits.tobytes()).decode() for bits in marked]


def _halves(arrays: list[Float[np.ndarray, "..."]]) -> dict[str, Any]:
    values = np.stack([array.ravel() for array in arrays])
    finite = np.abs(values[np.isfinite(values)])
    scale = float(finite.max(initial=0.0)) or 1.0
    halves = (values / np.float32(scale)).astype("<f2")
    return {"scale": scale, "data": base64.b64encode(halves.tobytes()).decode()}


def _scalar(name: str, series: Series) -> dict[str, Any]:
    return {
        "name": name,
        "steps": series.steps.tolist(),
        "values": [_number(value) for value in series.values.tolist()],
    }


def _prompts(entry: PromptEntry) -> dict[str, Any]:
    return dict(vars(entry))


def _number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
