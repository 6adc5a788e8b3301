"""Interventions under way: a batch of residual streams that differ from the plain run, carried up layer by layer.

Below the layer where an intervention enters, its stream is the plain run's; before the first position that it
changes too. So rows hold the positions from `start` to `end` only, and everything else is taken from the plain
run: its keys and values before `start`, its stream after `end` until attention has spread the change there.
Where all prompts begin with the same tokens, rows hold these positions once for all pairs, in `lead`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.pinned_heads import Held, hold
from headwatch.model.attention import attend


@dataclass(frozen=True)
class Rows:
    """Streams of some interventions on all pairs of a plain run.

    Attributes:
        stream: `[row, pair, pos, d_model]`, at the positions from `start` to `end`.
        start: the first position that may differ from the plain run; with `lead`, the first after it.
        end: the position after the last one that may.
        index: which intervention each row is, `[row]`.
        lead: the same interventions on the plain run's trunk, with one pair that stands for all; None where they
            change nothing there.
    """

    stream: Float[Tensor, "row pair pos d_model"]
    start: int
    end: int
    index: Int[Tensor, " row"]
    lead: "Rows | None" = None

    @property
    def span(self) -> tuple[int, int, int, int] | tuple[int, int]:
        """The positions that the rows hold."""
        lead = () if self.lead is None else (self.lead.start, self.lead.end)
        return (self.start, self.end, *lead)


def merged(groups: Sequence[Rows]) -> list[Rows]:
    """The same rows with those of equal positions in one batch."""
    by_span: dict[tuple[int, ...], list[Rows]] = {}
    for rows in groups:
        by_span.setdefault(rows.span, []).append(rows)
    return [_joined(same) for same in by_span.values()]


def _joined(same: Sequence[Rows]) -> Rows:
    if len(same) == 1:
        return same[0]
    leads = [rows.lead for rows in same if rows.lead is not None]
    return Rows(
        torch.cat([rows.stream for rows in same]),
        same[0].start,
        same[0].end,
        torch.cat([rows.index for rows in same]),
        _joined(leads) if leads else None,
    )


def through_mlp(run: PlainRun, layer: int, rows: Rows) -> Rows:
    """The rows after a layer's MLP."""
    lead = None if rows.lead is None else through_mlp(run, layer, rows.lead)
    return Rows(run.parts.after_mlp(layer, rows.stream), rows.start, rows.end, rows.index, lead)


def through_attention(run: PlainRun, layer: int, rows: Rows, held: Sequence[Held] = ()) -> Rows:
    """The rows after a layer's attention, which spreads a change to all later positions.

    Only the last position goes on where nothing above reads the others.

    Args:
        run: the plain run.
        layer: the layer.
        rows: its input.
        held: heads of this layer that stay replaced.
    """
    lead, before, answer_only = None, None, run.answer_only_in(layer)
    if rows.lead is not None:
        trunk = run.trunk
        inputs = _inputs(trunk, layer, rows.lead, answer_only=answer_only, held=held)
        before = (inputs.k, inputs.v)
        lead = None if answer_only else _attended(trunk, layer, inputs, rows.lead, held)
    inputs = _inputs(run, layer, rows, answer_only=answer_only, held=held, before=before)
    return _attended(run, layer, inputs, rows, held, lead)


@dataclass(frozen=True)
class _Inputs:
    """What attention reads: streams and queries from the position `first` on, keys and values at all positions."""

    stream: Float[Tensor, "row pair query d_model"]
    q: Float[Tensor, "row pair query head d_head"]
    k: Float[Tensor, "row pair key head d_head"]
    v: Float[Tensor, "row pair key head d_head"]
    first: int


def _inputs(
    run: PlainRun,
    layer: int,
    rows: Rows,
    *,
    answer_only: bool,
    held: Sequence[Held],
    before: tuple[Tensor, Tensor] | None = None,
) -> _Inputs:
    """What attention reads of some rows; `before` are other keys and values than the plain run's before `start`."""
    parts, last = run.parts, run.length - 1
    first = last if answer_only else rows.start
    if answer_only and (rows.start, rows.end) != (last, last + 1):
        k, v = parts.keys_values(layer, rows.stream)
        stream = rows.stream[:, :, -1:] if rows.end > last else _plain(run.pre[layer], rows, last, last + 1)
        q = parts.queries(layer, stream)
    else:
        q, k, v = parts.qkv(layer, rows.stream)
        q, stream = _followed(q, run.q[layer], rows), _followed(rows.stream, run.pre[layer], rows)
    before_k, before_v = before if before is not None else (run.k[layer][None], run.v[layer][None])
    k, v = _surrounded(run.k[layer], k, rows, before_k), _surrounded(run.v[layer], v, rows, before_v)
    return _Inputs(stream, hold(held, "q", q, first), hold(held, "k", k, 0), hold(held, "v", v, 0), first)


def _attended(
    run: PlainRun, layer: int, inputs: _Inputs, rows: Rows, held: Sequence[Held], lead: Rows | None = None
) -> Rows:
    """The rows after attention has read its inputs."""
    stream, first = inputs.stream, inputs.first
    queries, keys, values = (part.flatten(0, 1) for part in (inputs.q, inputs.k, inputs.v))
    z = attend(queries, keys, values, run.parts.scaling(layer), first).unflatten(0, stream.shape[:2])
    stream = run.parts.after_attention(layer, stream, hold(held, "z", z, first))
    return Rows(stream, first, run.length, rows.index, lead)


def _plain(value: Tensor, rows: Rows, start: int, end: int) -> Tensor:
    """The plain run's values at some positions, once for each row."""
    return value[None, :, start:end].expand(len(rows.index), *value[:, start:end].shape)


def _followed(value: Tensor, plain: Tensor, rows: Rows) -> Tensor:
    """The rows' values from `start` on: their own to `end`, the plain run's after."""
    if rows.end == plain.shape[1]:
        return value
    return torch.cat([value, _plain(plain, rows, rows.end, plain.shape[1])], dim=2)


def _surrounded(plain: Tensor, value: Tensor, rows: Rows, before: Tensor) -> Tensor:
    """The rows' keys or values at all positions: their own from `start` to `end`, and what stands around them."""
    followed = _followed(value, plain, rows)
    if rows.start == 0:
        return followed
    pairs = value.shape[1]
    before = before[:, :, : rows.start].expand(len(rows.index), pairs, -1, -1, -1)
    return torch.cat([before, followed], dim=2)
