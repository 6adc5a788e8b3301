"""Interventions under way: a batch of residual streams that differ from the plain run, carried up layer by layer.

Below the layer where an intervention enters, its stream is the plain run's; before the first position that it
changes too. So rows hold the positions from `start` to `end` only, and everything else is taken from the plain
run: its keys and values before `start`, its stream after `end` until attention has spread the change there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.attention import attend
from headwatch.plain_run import PlainRun


@dataclass(frozen=True)
class Rows:
    """Streams of some interventions on all pairs of a plain run.

    Attributes:
        stream: `[row, pair, pos, d_model]`, at the positions from `start` to `end`.
        start: the first position that may differ from the plain run.
        end: the position after the last one that may.
        index: which intervention each row is, `[row]`.
    """

    stream: Float[Tensor, "row pair pos d_model"]
    start: int
    end: int
    index: Int[Tensor, " row"]


def merged(groups: Sequence[Rows]) -> list[Rows]:
    """The same rows with those of equal positions in one batch."""
    by_span: dict[tuple[int, int], list[Rows]] = {}
    for rows in groups:
        by_span.setdefault((rows.start, rows.end), []).append(rows)
    return [
        same[0]
        if len(same) == 1
        else Rows(torch.cat([r.stream for r in same]), start, end, torch.cat([r.index for r in same]))
        for (start, end), same in by_span.items()
    ]


def through_mlp(run: PlainRun, layer: int, rows: Rows) -> Rows:
    """The rows after a layer's MLP."""
    return Rows(run.parts.after_mlp(layer, rows.stream), rows.start, rows.end, rows.index)


def through_attention(run: PlainRun, layer: int, rows: Rows, *, answer_only: bool) -> Rows:
    """The rows after a layer's attention, which spreads a change to all later positions.

    Args:
        run: the plain run.
        layer: the layer.
        rows: its input.
        answer_only: go on with the last position alone, as nothing above reads the others.
    """
    parts, last = run.parts, run.length - 1
    first = last if answer_only else rows.start
    if answer_only and (rows.start, rows.end) != (last, last + 1):
        k, v = parts.keys_values(layer, rows.stream)
        stream = rows.stream[:, :, -1:] if rows.end > last else _plain(run.pre[layer], rows, last, last + 1)
        q = parts.queries(layer, stream)
    else:
        q, k, v = parts.qkv(layer, rows.stream)
        q, stream = _followed(q, run.q[layer], rows), _followed(rows.stream, run.pre[layer], rows)
    z = attend(
        q.flatten(0, 1),
        _surrounded(run.k[layer], k, rows).flatten(0, 1),
        _surrounded(run.v[layer], v, rows).flatten(0, 1),
        parts.scaling(layer),
        first,
    )
    stream = parts.after_attention(layer, stream, z.unflatten(0, stream.shape[:2]))
    return Rows(stream, first, last + 1, rows.index)


def _plain(value: Tensor, rows: Rows, start: int, end: int) -> Tensor:
    """The plain run's values at some positions, once for each row."""
    return value[None, :, start:end].expand(len(rows.index), *value[:, start:end].shape)


def _followed(value: Tensor, plain: Tensor, rows: Rows) -> Tensor:
    """The rows' values from `start` on: their own to `end`, the plain run's after."""
    if rows.end == plain.shape[1]:
        return value
    return torch.cat([value, _plain(plain, rows, rows.end, plain.shape[1])], dim=2)


def _surrounded(plain: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """The rows' keys or values at all positions: their own from `start` to `end`, the plain run's elsewhere."""
    followed = _followed(value, plain, rows)
    return followed if rows.start == 0 else torch.cat([_plain(plain, rows, 0, rows.start), followed], dim=2)
