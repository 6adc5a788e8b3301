"""A record as the page wants it: JSON, with arrays as base64 of half-precision floats.

Values are divided by their series' largest magnitude before they are halved, so that an effect is off by at most 0.05 %
however small the series. Attention maps stay in the record's bytes, deflated. 1,000 passes over 144 heads are 0.8 MB.
"""

import base64
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from headwatch.cell_names import counted
from headwatch.page.packed import number
from headwatch.page.series_payload import has_error, keyframes, same_question, series_payload
from headwatch.page.shortened import LONGEST_NOTE, shortened, shortened_tokens
from headwatch.record import AttentionEntry, EffectEntry, PromptEntry, Record, ScoreEntry, Series
from headwatch.record.reader import read_packed


def run_payload(record: Record, budget: int | None = None) -> dict[str, Any]:
    """What the page shows of a record, without its attention maps.

    Args:
        record: the record, or what was appended to one.
        budget: the most bytes that the values of all effects and scores may take; where they would take more,
            steps are left out evenly, the first and the last kept. None keeps all.
    """
    groups = [*same_question(record.effects), *_score_groups(record.scores)]
    limits = [len(group) for group in groups] if budget is None else _limits(groups, budget)
    return {
        "name": shortened(record.name),
        "model": dict(record.model),
        "series": [
            series_payload(keyframes(group, limit), len(group))
            for group, limit in zip(groups, limits, strict=True)
        ],
        "scalars": [_scalar(name, series) for name, series in record.scalars.items()],
        "frames": [frame_payload(entry) for entry in record.frames],
        "prompts": [_prompts(entry) for entry in record.prompts.values()],
        "notes": [
            {"level": note.level, "message": shortened(note.message, LONGEST_NOTE)} for note in record.notes
        ],
        "problems": [shortened(problem, LONGEST_NOTE) for problem in record.problems],
    }


def frame_payload(entry: AttentionEntry) -> dict[str, Any]:
    """Which attention maps there are, without the maps."""
    return {"step": entry.step, "label": shortened(entry.label), "tokens": shortened_tokens(entry.tokens)}


def maps_payload(record: Record, entry: AttentionEntry, prompts: int | None = None) -> dict[str, Any]:
    """The attention maps of the first few prompts of a frame.

    Args:
        record: the record that the frame is in.
        entry: the frame.
        prompts: how many prompts; None for all.

    Raises:
        ValueError: the frame's file is missing or damaged.
    """
    packed = read_packed(record.directory, entry, record.model)[:prompts]
    heads = packed[0].shape[:2] if packed else (0, 0)
    data = zlib.compress(b"".join(maps.tobytes() for maps in packed), 9)
    shown = {"tokens": shortened_tokens(entry.tokens[:prompts]), "total": len(entry.tokens)}
    return frame_payload(entry) | shown | {"heads": heads, "maps": base64.b64encode(data).decode()}


def _score_groups(entries: Iterable[ScoreEntry]) -> list[list[EffectEntry]]:
    """Scores as effects without error bars: one series a score."""
    flat = [_score_entry(entry, name) for entry in entries for name in entry.scores]
    return same_question(flat)


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
    order = sorted(range(len(groups)), key=lambda i: len(groups[i]) * pass_size(groups[i]))
    for turn, i in enumerate(order):
        share = budget // (len(order) - turn)
        limits[i] = min(len(groups[i]), max(2, share // pass_size(groups[i])))
        budget -= limits[i] * pass_size(groups[i])
    return limits


def pass_size(entries: Sequence[EffectEntry]) -> int:
    """Characters that one pass of a group takes: two bytes a value in base64, as much for its interval, a mark."""
    interval = 2.125 if has_error(entries) else 0
    estimate = 4.125 if any(entry.n_exact is not None for entry in entries) else 0
    return max(1, int(entries[0].mean.size * (2 + interval + estimate) * 4 / 3))


def _scalar(name: str, series: Series) -> dict[str, Any]:
    return {
        "name": shortened(name),
        "steps": series.steps.tolist(),
        "values": [number(value) for value in series.values.tolist()],
    }


def _prompts(entry: PromptEntry) -> dict[str, Any]:
    return vars(entry) | {
        "label": shortened(entry.label),
        "clean": shortened_tokens(entry.clean),
        "corrupted": shortened_tokens(entry.corrupted),
    }
