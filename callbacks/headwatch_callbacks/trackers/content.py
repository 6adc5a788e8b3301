"""What a pass looks like in a tracker: numbers and pictures, each under one key that stays the same.

A fixed key is what gives a tracker's step slider something to slide over. The keys of a pass labelled
`ablation/z/mean/loss` start with `headwatch/ablation/z/mean/loss`; its per-head series, of which there may be
hundreds, go under `heads/` so that they do not bury the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from headwatch.effects.estimated import EstimatedEffects
from headwatch.pictures.cell_map import CellMap
from headwatch.pictures.colours import largest
from headwatch.record.steps import step_name
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.importance import (
    effective_heads,
    entropy,
    head_maps,
    measures_importance,
)
from headwatch_callbacks.trackers.pictures import head_map, mosaic
from headwatch_callbacks.trackers.settings import Trackers

Pictures = dict[str, Image.Image]
Draw = Callable[[ProbeResult], Pictures]


def key(result: ProbeResult, *names: str) -> str:
    """The fixed key of something in a pass, such as `headwatch/ablation/z/mean/loss/entropy`."""
    return "/".join(["headwatch", result.label, *(name for name in names if name)])


def numbers(result: ProbeResult, per_head: bool) -> dict[str, float]:
    """The scalars of one pass by key; values that are not finite are left out."""
    found = {key(result, name): float(value) for name, value in result.scalars.items()}
    for each in head_maps(result):
        if measures_importance(result):
            found |= _spread(result, each)
        if per_head:
            found |= _per_head(result, each)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _spread(result: ProbeResult, each: CellMap) -> dict[str, float]:
    found = {
        key(result, each.name, "importance_entropy"): entropy(each.values),
        key(result, each.name, "effective_heads"): effective_heads(each.values),
    }
    for top in each.ranked()[:1]:
        found[key(result, each.name, "top_effect")] = float(each.values[top])
    return found


def _per_head(result: ProbeResult, each: CellMap) -> dict[str, float]:
    stem = "/".join(name for name in ("heads", result.label, each.name) if name)
    return {f"{stem}/{each.cell_name(*place)}": float(each.values[place]) for place in sorted(each.ranked())}


def summary(result: ProbeResult) -> dict[str, str]:
    """The head that matters most in one pass, by key: text, which trackers keep beside the run and do not plot."""
    if not measures_importance(result):
        return {}
    tops = {each.name: (each, each.ranked()[:1]) for each in head_maps(result)}
    return {
        key(result, name, "top_head"): each.cell_name(*top[0]) for name, (each, top) in tops.items() if top
    }


@dataclass
class Cadence:
    """Says which of many passes to draw: all at first, then every second, every fourth, and so on.

    Attributes:
        full_rate: how many are drawn before the rate is halved, and again before each next halving.
        stride: every how many are drawn now.
    """

    full_rate: int
    stride: int = 1
    _seen: int = 0
    _drawn: int = 0

    def due(self) -> bool:
        """Whether to draw this one; to be asked once a pass."""
        due = self._seen % self.stride == 0
        self._seen += 1
        self._drawn += due
        if due and self._drawn % self.full_rate == 0:
            self.stride *= 2
        return due


@dataclass
class Album:
    """Draws the pictures of passes as they come and remembers what that takes.

    The colour scale of a series only ever widens, so that neighbouring steps compare by eye.
    """

    settings: Trackers
    _limits: dict[str, float] = field(default_factory=dict)
    _cadences: dict[str, Cadence] = field(default_factory=dict)
    _skipped: dict[str, tuple[ProbeResult, Draw]] = field(default_factory=dict)

    def add(self, result: ProbeResult) -> Pictures:
        """The pictures due at this pass, by key; empty where its turn is skipped."""
        for each in head_maps(result):
            name = key(result, each.name, "map")
            self._limits[name] = max(self._limits.get(name, 0.0), largest(each.values))
        return self._maps(result) | self._mosaic(result)

    def last(self) -> list[tuple[ProbeResult, Pictures]]:
        """The latest pass of each label where it was skipped, drawn now."""
        skipped, self._skipped = self._skipped, {}
        return [(result, draw(result)) for result, draw in skipped.values()]

    def _maps(self, result: ProbeResult) -> Pictures:
        return self._draw(result, result.label, 1, self._draw_maps)

    def _mosaic(self, result: ProbeResult) -> Pictures:
        if result.frame is None:
            return {}
        return self._draw(result, f"{result.label}/attention", self.settings.mosaic_every, _draw_mosaic)

    def _draw(self, result: ProbeResult, name: str, stride: int, draw: Draw) -> Pictures:
        fresh = Cadence(self.settings.pictures_at_full_rate, stride)
        if not self._cadences.setdefault(name, fresh).due():
            self._skipped[name] = (result, draw)
            return {}
        self._skipped.pop(name, None)
        return draw(result)

    def _draw_maps(self, result: ProbeResult) -> Pictures:
        names = {key(result, each.name, "map"): each for each in head_maps(result)}
        return {name: _draw_map(result, each, self._limits[name]) for name, each in names.items()}


def _draw_map(result: ProbeResult, each: CellMap, limit: float) -> Image.Image:
    parts = [step_name(result.step)]
    if result.effects is not None and not each.name:
        effects = result.effects
        sure = (
            ""
            if effects.exact
            else " (estimated)"
            if isinstance(effects, EstimatedEffects)
            else " (first-order)"
        )
        parts.append(f"effect on {effects.metric}{sure}, mean of {effects.n} pairs")
        parts.append(f"not intervened: {effects.baseline:.3g}")
    return head_map(
        each,
        title="/".join(name for name in (result.label, each.name) if name),
        subtitle=", ".join([*parts, each.note] if each.note else parts),
        limit=limit,
        signed=not each.name or bool((each.values < 0).any()),
    )


def _draw_mosaic(result: ProbeResult) -> Pictures:
    assert result.frame is not None
    tokens = result.frame.tokens[0]
    maps = result.frame.maps[0, :, :, : len(tokens), : len(tokens)].detach().float().cpu().numpy()
    prompt = " ".join("".join(tokens).split())
    return {
        key(result, "attention"): mosaic(
            maps, title=f"{result.label}, {step_name(result.step)}", subtitle=prompt
        )
    }
