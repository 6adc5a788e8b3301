"""Interventions under way: a batch of residual streams that differ from the base run, carried up layer by layer.

Below the layer where an intervention enters, its stream is the base run's; before the first position that it
changes too. So streams hold the positions from `start` to `end` only, and everything else is taken from the base
run: its keys and values before `start`, its stream after `end` until attention has spread the change there.
Where all prompts begin with the same tokens, streams hold these positions once for all pairs, in `shared_prefix`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.pinned_heads import PinnedHeads, pin


@dataclass(frozen=True)
class Streams:
    """Streams of some interventions on all pairs of a base run.

    Attributes:
        stream: `[intervention, pair, pos, d_model]`, at the positions from `start` to `end`.
        start: the first position that may differ from the base run; with `shared_prefix`, the first after it.
        end: the position after the last one that may.
        index: which intervention each stream is of, `[intervention]`.
        shared_prefix: the same interventions on the base run's shared prefix, with one pair that stands for all; None
            where they change nothing there.
    """

    stream: Float[Tensor, "intervention pair pos d_model"]
    start: int
    end: int
    index: Int[Tensor, " intervention"]
    shared_prefix: "Streams | None" = None

    @property
    def span(self) -> tuple[int, int, int, int] | tuple[int, int]:
        """The positions that the streams hold."""
        prefix = self.shared_prefix
        return (self.start, self.end, *(() if prefix is None else (prefix.start, prefix.end)))


def merged(groups: Sequence[Streams]) -> list[Streams]:
    """The same streams with those of equal positions in one batch."""
    by_span: dict[tuple[int, ...], list[Streams]] = {}
    for streams in groups:
        by_span.setdefault(streams.span, []).append(streams)
    return [_joined(same) for same in by_span.values()]


def _joined(same: Sequence[Streams]) -> Streams:
    if len(same) == 1:
        return same[0]
    prefixes = [streams.shared_prefix for streams in same if streams.shared_prefix is not None]
    return Streams(
        torch.cat([streams.stream for streams in same]),
        same[0].start,
        same[0].end,
        torch.cat([streams.index for streams in same]),
        _joined(prefixes) if prefixes else None,
    )


def through_mlp(base: BaseRun, layer: int, streams: Streams) -> Streams:
    """The streams after a layer's MLP."""
    prefix = streams.shared_prefix
    return Streams(
        base.network.after_mlp(layer, streams.stream),
        streams.start,
        streams.end,
        streams.index,
        None if prefix is None else through_mlp(base, layer, prefix),
    )


def through_attention(
    base: BaseRun, layer: int, streams: Streams, pinned: Sequence[PinnedHeads] = ()
) -> Streams:
    """The streams after a layer's attention, which spreads a change to all later positions.

    Only the last position goes on where nothing above reads the others.

    Args:
        base: the base run.
        layer: the layer.
        streams: its input.
        pinned: heads of this layer that stay replaced.
    """
    prefix, keys_before, answer_only = None, None, base.answer_only_in(layer)
    if streams.shared_prefix is not None:
        inputs = _inputs(
            base.shared_prefix, layer, streams.shared_prefix, answer_only=answer_only, pinned=pinned
        )
        keys_before = (inputs.k, inputs.v)
        if not answer_only:
            prefix = _attended(base.shared_prefix, layer, inputs, streams.shared_prefix, pinned)
    inputs = _inputs(base, layer, streams, answer_only=answer_only, pinned=pinned, keys_before=keys_before)
    return _attended(base, layer, inputs, streams, pinned, prefix)


@dataclass(frozen=True)
class _Inputs:
    """What attention reads: streams and queries from the position `first` on, keys and values at all positions."""

    stream: Float[Tensor, "intervention pair query d_model"]
    q: Float[Tensor, "intervention pair query head d_head"]
    k: Float[Tensor, "intervention pair key kv_head d_head"]
    v: Float[Tensor, "intervention pair key kv_head d_head"]
    first: int


def _inputs(
    base: BaseRun,
    layer: int,
    streams: Streams,
    *,
    answer_only: bool,
    pinned: Sequence[PinnedHeads],
    keys_before: tuple[Tensor, Tensor] | None = None,
) -> _Inputs:
    """What attention reads of some streams; `keys_before`: keys and values before `start`, if not the base run's."""
    network, last = base.network, base.length - 1
    first = last if answer_only else streams.start
    if answer_only and (streams.start, streams.end) != (last, last + 1):
        k, v = network.keys_values(layer, streams.stream)
        reached = streams.end > last
        stream = streams.stream[:, :, -1:] if reached else _of_base(base.pre[layer], streams, last, last + 1)
        q = network.queries(layer, stream)
    else:
        q, k, v = network.qkv(layer, streams.stream)
        q, stream = _followed(q, base.q[layer], streams), _followed(streams.stream, base.pre[layer], streams)
    before_k, before_v = keys_before or (base.k[layer][None], base.v[layer][None])
    k = _surrounded(base.k[layer], k, streams, before_k)
    v = _surrounded(base.v[layer], v, streams, before_v)
    return _Inputs(stream, pin(pinned, "q", q, first), pin(pinned, "k", k, 0), pin(pinned, "v", v, 0), first)


def _attended(
    base: BaseRun,
    layer: int,
    inputs: _Inputs,
    streams: Streams,
    pinned: Sequence[PinnedHeads],
    prefix: Streams | None = None,
) -> Streams:
    """The streams after attention has read its inputs."""
    stream, first = inputs.stream, inputs.first
    queries, keys, values = (part.flatten(0, 1) for part in (inputs.q, inputs.k, inputs.v))
    z = base.network.attend(layer, queries, keys, values, first).unflatten(0, stream.shape[:2])
    stream = base.network.after_attention(layer, stream, pin(pinned, "z", z, first))
    return Streams(stream, first, base.length, streams.index, prefix)


def _of_base(value: Tensor, streams: Streams, start: int, end: int) -> Tensor:
    """The base run's values at some positions, once for each intervention."""
    return value[None, :, start:end].expand(len(streams.index), *value[:, start:end].shape)


def _followed(value: Tensor, of_base: Tensor, streams: Streams) -> Tensor:
    """The streams' values from `start` on: their own to `end`, the base run's after."""
    if streams.end == of_base.shape[1]:
        return value
    return torch.cat([value, _of_base(of_base, streams, streams.end, of_base.shape[1])], dim=2)


def _surrounded(of_base: Tensor, value: Tensor, streams: Streams, before: Tensor) -> Tensor:
    """The streams' keys or values at all positions: their own from `start` to `end`, and what stands around them."""
    followed = _followed(value, of_base, streams)
    if streams.start == 0:
        return followed
    pairs = value.shape[1]
    before = before[:, :, : streams.start].expand(len(streams.index), pairs, -1, -1, -1)
    return torch.cat([before, followed], dim=2)
