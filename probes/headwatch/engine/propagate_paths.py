"""Path patching: what a head writes, as seen by some receivers alone (Wang et al. 2022; Goldowsky-Dill et al. 2023).

The sender's rows go up with all attention frozen, through the MLPs or past them, to the layers of the receivers.
What the receivers' queries, keys or values become there is kept; a second run holds these and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.inject import enter
from headwatch.engine.pinned_heads import Held
from headwatch.engine.propagate import NewValues
from headwatch.engine.streams import Rows, merged, through_attention, through_mlp
from headwatch.engine.work_items import Job
from headwatch.interventions.batch import Paths, Sweep


class _Received(NamedTuple):
    """What one layer's heads see of some senders.

    Attributes:
        senders: which interventions these are, `[sender]`.
        values: all heads' queries, keys or values.
    """

    senders: Int[Tensor, " sender"]
    values: Float[Tensor, "sender pair pos head d_head"]


@dataclass(frozen=True)
class PathClimb:
    """The way up for the senders of one sweep.

    Attributes:
        plain: the run that is intervened on.
        sweep: which senders and receivers.
        new: the senders' values in a layer.
    """

    plain: PlainRun
    sweep: Sweep
    new: NewValues

    def __call__(self, jobs: Sequence[Job]) -> list[Rows]:
        """The senders' rows at the end of the last layer."""
        if self._paths.receivers is None:
            return self._sent(jobs, self.plain.parts.sizes.n_layers, {})
        received: dict[int, _Received] = {}
        top = self._paths.layers[-1]
        received[top] = self._seen(top, self._sent(jobs, top, received))
        return self._run_receivers(received, start=jobs[0].start)

    @property
    def _paths(self) -> Paths:
        assert self.sweep.paths is not None
        return self.sweep.paths

    def _sent(self, jobs: Sequence[Job], end: int, received: dict[int, _Received]) -> list[Rows]:
        """The rows before layer `end` with all attention frozen; what receivers see on the way is kept."""
        active = list[Rows]()
        for layer in range(min(job.layer for job in jobs), end):
            if active and layer in self._paths.layers:
                received[layer] = self._seen(layer, active)
            entering = [
                enter(self.plain, self.sweep.site, job, self.new(layer)) for job in jobs if job.layer == layer
            ]
            active = [self._past(self.plain.pre[layer], self.plain.mid[layer], rows) for rows in active]
            active = [self._cut(rows) for rows in merged(active + entering)]
            if self._paths.mlps == "recomputed":
                active = [through_mlp(self.plain, layer, rows) for rows in active]
            else:
                active = [
                    self._past(self.plain.mid[layer], self.plain.pre[layer + 1], rows) for rows in active
                ]
        return active

    def _past(self, before: Tensor, after: Tensor, rows: Rows) -> Rows:
        """The rows after what adds to the stream as it does in the plain run."""
        added = (after - before)[:, rows.start : rows.end]
        return Rows(rows.stream + added, rows.start, rows.end, rows.index)

    def _cut(self, rows: Rows) -> Rows:
        """The answer position alone, where nothing else is read: no attention moves anything there."""
        last = self.plain.length - 1
        if self._paths.receivers is not None or not self.plain.answer_only or rows.start == last:
            return rows
        return Rows(rows.stream[:, :, -1:], last, last + 1, rows.index)

    def _seen(self, layer: int, active: Sequence[Rows]) -> _Received:
        """What a layer's heads make of the senders' streams, at all positions."""
        plain = {"q": self.plain.q, "k": self.plain.k, "v": self.plain.v}[self._paths.into][layer]
        values = []
        for rows in active:
            value = self._projected(layer, rows.stream)
            before = plain[None, :, : rows.start].expand(len(value), -1, -1, -1, -1)
            values.append(torch.cat([before, value], dim=2))
        return _Received(torch.cat([rows.index for rows in active]), torch.cat(values))

    def _projected(self, layer: int, stream: Tensor) -> Tensor:
        parts = self.plain.parts
        if self._paths.into == "q":
            return parts.queries(layer, stream)
        return parts.keys_values(layer, stream)["kv".index(self._paths.into)]

    def _run_receivers(self, received: dict[int, _Received], start: int) -> list[Rows]:
        """The plain run with what the receivers saw, and what comes of it."""
        plain, active, entered = self.plain, list[Rows](), set[int]()
        for layer in range(min(received), plain.parts.sizes.n_layers):
            if layer in received:
                fresh = [number for number in received[layer].senders.tolist() if number not in entered]
                entered.update(fresh)
                active += [self._unchanged(torch.tensor(fresh), start)] if fresh else []
            active = [
                through_attention(plain, layer, rows, held=self._held(layer, rows.index, received))
                for rows in active
            ]
            active = [through_mlp(plain, layer, rows) for rows in merged(active)]
        return active

    def _unchanged(self, index: Int[Tensor, " row"], start: int) -> Rows:
        """Rows that differ from the plain run nowhere yet."""
        nothing = self.plain.pre[0].new_zeros(
            len(index), self.plain.n_pairs, 0, self.plain.parts.sizes.d_model
        )
        return Rows(nothing, start, start, index)

    def _held(
        self, layer: int, index: Int[Tensor, " row"], received: dict[int, _Received]
    ) -> tuple[Held, ...]:
        """What the receivers in a layer hold, row by row."""
        if layer not in received:
            return ()
        heads = torch.zeros(1, self.plain.parts.sizes.n_heads, dtype=torch.bool)
        for _, head in (receiver for receiver in self._paths.receivers or () if receiver[0] == layer):
            heads[:, head] = True
        values = received[layer].values
        # Every row is here: it entered in the first layer in which its sender was seen, and is seen in all above.
        rows = (index[:, None] == received[layer].senders).int().argmax(1).to(values.device)
        return (Held(self._paths.into, heads.to(values.device), values[rows]),)
