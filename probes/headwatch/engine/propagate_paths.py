"""Path patching: what a head writes, as seen by some receivers alone (Wang et al. 2022; Goldowsky-Dill et al. 2023).

The sender's streams go up with all attention frozen, through the MLPs or past them, to the layers of the receivers.
What the receivers' queries, keys or values become there is kept; a second run is pinned to these and to nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.inject import inject
from headwatch.engine.pinned_heads import PinnedHeads
from headwatch.engine.propagate import NewValues
from headwatch.engine.streams import Streams, merged, through_attention, through_mlp
from headwatch.engine.work_items import WorkItem
from headwatch.interventions.batch import Paths, Sweep


class _Received(NamedTuple):
    """What one layer's heads see of some senders.

    Attributes:
        senders: which interventions these are, `[sender]`.
        values: all heads' queries, keys or values.
    """

    senders: Int[Tensor, " sender"]
    values: Float[Tensor, "sender pair pos head d_head"]


def propagate_paths(base: BaseRun, sweep: Sweep, new: NewValues, items: Sequence[WorkItem]) -> list[Streams]:
    """The streams of some senders at the end of the last layer, as far as the receivers let them through.

    Args:
        base: the run that is intervened on.
        sweep: which senders and receivers.
        new: the senders' values in a layer.
        items: the senders.
    """
    return _PathRun(base, sweep, new).streams(items)


@dataclass(frozen=True)
class _PathRun:
    """The senders of one sweep on their way to the receivers.

    Attributes:
        base: the run that is intervened on.
        sweep: which senders and receivers.
        new: the senders' values in a layer.
    """

    base: BaseRun
    sweep: Sweep
    new: NewValues

    def streams(self, items: Sequence[WorkItem]) -> list[Streams]:
        """The senders' streams at the end of the last layer."""
        if self._paths.receivers is None:
            return self._sent(items, self.base.network.sizes.n_layers, {})
        received: dict[int, _Received] = {}
        top = self._paths.layers[-1]
        received[top] = self._seen(top, self._sent(items, top, received))
        return self._run_receivers(received, start=items[0].start)

    @property
    def _paths(self) -> Paths:
        assert self.sweep.paths is not None
        return self.sweep.paths

    def _sent(self, items: Sequence[WorkItem], end: int, received: dict[int, _Received]) -> list[Streams]:
        """The streams before layer `end` with all attention frozen; what receivers see on the way is kept."""
        active = list[Streams]()
        for layer in range(min(item.layer for item in items), end):
            if active and layer in self._paths.layers:
                received[layer] = self._seen(layer, active)
            entering = [
                inject(self.base, self.sweep.site, item, self.new(layer))
                for item in items
                if item.layer == layer
            ]
            active = [self._past_attention(layer, streams) for streams in active]
            active = [self._cut(streams) for streams in merged(active + entering)]
            if self._recomputes_mlps:
                active = [through_mlp(self.base, layer, streams) for streams in active]
            else:
                active = [
                    self._past(self.base.mid[layer], self.base.pre[layer + 1], streams) for streams in active
                ]
        return active

    @property
    def _recomputes_mlps(self) -> bool:
        return self._paths.mlps == "recomputed"

    def _past_attention(self, layer: int, streams: Streams) -> Streams:
        """The streams after attention that writes as in the base run, and after an MLP at its side."""
        before = self.base.pre[layer]
        if self.base.network.parallel and self._recomputes_mlps:
            mlp_out = self.base.network.mlp(layer, streams.stream)
            streams = replace(streams, stream=streams.stream + mlp_out)
            before = self.base.without_attention(layer)
        return self._past(before, self.base.mid[layer], streams)

    def _past(self, before: Tensor, after: Tensor, streams: Streams) -> Streams:
        """The streams after what adds to the stream as it does in the base run."""
        added = (after - before)[:, streams.start : streams.end]
        return Streams(streams.stream + added, streams.start, streams.end, streams.index)

    def _cut(self, streams: Streams) -> Streams:
        """The answer position alone, where nothing else is read: no attention moves anything there."""
        last = self.base.length - 1
        if self._paths.receivers is not None or not self.base.answer_only or streams.start == last:
            return streams
        return Streams(streams.stream[:, :, -1:], last, last + 1, streams.index)

    def _seen(self, layer: int, active: Sequence[Streams]) -> _Received:
        """What a layer's heads make of the senders' streams, at all positions."""
        of_base = {"q": self.base.q, "k": self.base.k, "v": self.base.v}[self._paths.receiver_input][layer]
        values = []
        for streams in active:
            value = self._projected(layer, streams.stream)
            before = of_base[None, :, : streams.start].expand(len(value), -1, -1, -1, -1)
            values.append(torch.cat([before, value], dim=2))
        return _Received(torch.cat([streams.index for streams in active]), torch.cat(values))

    def _projected(self, layer: int, stream: Tensor) -> Tensor:
        if self._paths.receiver_input == "q":
            return self.base.network.queries(layer, stream)
        return self.base.network.keys_values(layer, stream)["kv".index(self._paths.receiver_input)]

    def _run_receivers(self, received: dict[int, _Received], start: int) -> list[Streams]:
        """The base run with what the receivers saw, and what comes of it."""
        base, active, entered = self.base, list[Streams](), set[int]()
        for layer in range(min(received), base.network.sizes.n_layers):
            if layer in received:
                fresh = [number for number in received[layer].senders.tolist() if number not in entered]
                entered.update(fresh)
                active += [self._unchanged(torch.tensor(fresh), start)] if fresh else []
            active = [
                through_attention(base, layer, streams, pinned=self._pinned(layer, streams.index, received))
                for streams in active
            ]
            active = [through_mlp(base, layer, streams) for streams in merged(active)]
        return active

    def _unchanged(self, index: Int[Tensor, " intervention"], start: int) -> Streams:
        """Streams that differ from the base run nowhere yet."""
        nothing = self.base.pre[0].new_zeros(
            len(index), self.base.n_pairs, 0, self.base.network.sizes.d_model
        )
        return Streams(nothing, start, start, index)

    def _pinned(
        self, layer: int, index: Int[Tensor, " intervention"], received: dict[int, _Received]
    ) -> tuple[PinnedHeads, ...]:
        """What the receivers in a layer are pinned to, intervention by intervention."""
        if layer not in received:
            return ()
        heads = torch.zeros(1, self.base.network.sizes.units(self._paths.receiver_input), dtype=torch.bool)
        for _, head in (receiver for receiver in self._paths.receivers or () if receiver[0] == layer):
            heads[:, head] = True
        values = received[layer].values
        # Every intervention is here: it entered where its sender was first seen, and is seen in all layers above.
        rows = (index[:, None] == received[layer].senders).int().argmax(1).to(values.device)
        return (PinnedHeads(self._paths.receiver_input, heads.to(values.device), values[rows]),)
