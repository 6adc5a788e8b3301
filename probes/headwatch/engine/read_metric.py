"""Reads metrics off interventions that have come up: unembeds no more than they need, and once for all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.streams import Rows
from headwatch.interventions.batch import Batch, Sweep
from headwatch.interventions.sites import Stage
from headwatch.metrics import ActivationAt, Metric, Reads
from headwatch.model.activation_names import parse

_MAX_LOGITS = 2**25
_ACTIVATION_STAGES: dict[str, Stage] = {
    "resid_pre": "pre",
    "resid_mid": "mid",
    "pre": "mid",
    "post": "mid",
    "mlp_out": "mid",
    "resid_post": "post",
}


def readable(sweep: Sweep) -> bool:
    """Whether the engine can read the sweep's metric off the stream.

    It can't where the metric is an activation inside attention, or one inside an MLP whose own output is replaced,
    nor an activation under path patching.
    """
    activation = sweep.activation
    if activation is None:
        return True
    if sweep.paths is not None:
        return False
    stage = _ACTIVATION_STAGES.get(parse(activation.name).name)
    in_mlp = stage == "mid" and parse(activation.name).name != "resid_mid"
    return stage is not None and not (in_mlp and sweep.site.name in ("mlp_out", "resid_post", "pre", "post"))


@dataclass(frozen=True)
class Reader:
    """Reads the metrics of one sweep.

    Attributes:
        run: the base run, which is intervened on.
        batch: its prompts and what they are compared with.
        metrics: the metrics; one that is read off an activation stands alone.
    """

    run: PlainRun
    batch: Batch
    metrics: tuple[Metric, ...]

    @property
    def activation(self) -> ActivationAt | None:
        """The activation off which the metric is read, where that isn't the logits."""
        return self.metrics[0].activation

    @cached_property
    def top_layer(self) -> int:
        """The layer at which the metrics are read."""
        if self.activation is None:
            return self.run.parts.sizes.n_layers - 1
        layer = parse(self.activation.name).layer
        assert layer is not None
        return layer

    def ends_at(self, layer: int, stage: Stage) -> bool:
        """Whether the metrics are read there, below the end of the top layer."""
        return layer == self.top_layer and stage == self._stage

    @cached_property
    def measured(self) -> Float[Tensor, "metric pair"]:
        """The metrics on the base run."""
        index = torch.zeros(1, dtype=torch.long)
        return self.read(Rows(self._base_stream[None], 0, self.run.length, index))[:, 0]

    @property
    def _base_stream(self) -> Float[Tensor, "pair pos d_model"]:
        """The base run's stream where the metrics are read."""
        streams = {"pre": self.run.pre, "mid": self.run.mid, "post": self.run.pre[1:]}
        return streams[self._stage][self.top_layer]

    @property
    def _stage(self) -> Stage:
        return "post" if self.activation is None else _ACTIVATION_STAGES[parse(self.activation.name).name]

    def read(self, rows: Rows) -> Float[Tensor, "metric row pair"]:
        """The metrics of each row on each pair."""
        found: dict[str, Tensor] = {}
        for reads in dict.fromkeys(metric.reads for metric in self.metrics):
            alike = [metric for metric in self.metrics if metric.reads == reads]
            values = self._measure(alike, self._values(reads, rows))
            found |= dict(zip([metric.name for metric in alike], values, strict=True))
        return torch.stack([found[metric.name] for metric in self.metrics])

    def _measure(
        self, metrics: Sequence[Metric], parts: Iterator[Tensor]
    ) -> Float[Tensor, "metric row pair"]:
        """Metrics that read the same, from what they read of some rows after others."""
        targets = self.batch.targets
        measured = [torch.stack([metric.function(part, targets) for metric in metrics]) for part in parts]
        return torch.cat(measured, dim=1)

    def _values(self, reads: Reads, rows: Rows) -> Iterator[Float[Tensor, "row pair *what"]]:
        """What a kind of metrics reads of the rows, in parts that memory holds."""
        parts = self.run.parts
        if reads == "activation":
            yield self._activation(self._last(rows))
        elif reads == "answers":
            tokens = torch.stack([self.batch.targets.answer, self.batch.targets.foil], dim=-1)
            yield parts.some_logits(self._last(rows), tokens)
        else:
            stream = self._last(rows) if reads == "vocabulary" else self._whole(rows)
            per_row = stream[0, ..., 0].numel() * parts.sizes.d_vocab
            for some in stream.split(max(1, _MAX_LOGITS // per_row)):
                yield parts.logits(some)

    def _last(self, rows: Rows) -> Float[Tensor, "row pair d_model"]:
        """The rows' stream at the last position, which a change may not have reached."""
        if rows.end == self.run.length:
            return rows.stream[:, :, -1]
        return self._base_stream[:, -1].expand(len(rows.index), -1, -1)

    def _whole(self, rows: Rows) -> Float[Tensor, "row pair pos d_model"]:
        """The rows' last stream at all positions."""
        last = self.run.pre[-1].expand(len(rows.index), *self.run.pre[-1].shape)
        if rows.lead is None:
            return torch.cat([last[:, :, : rows.start], rows.stream, last[:, :, rows.end :]], dim=2)
        lead = rows.lead.stream.expand(-1, last.shape[1], -1, -1)
        return torch.cat([last[:, :, : rows.lead.start], lead, rows.stream, last[:, :, rows.end :]], dim=2)

    def _activation(self, stream: Float[Tensor, "row pair d_model"]) -> Float[Tensor, "row pair"]:
        assert self.activation is not None
        name, parts = parse(self.activation.name).name, self.run.parts
        if name == "mlp_out":
            stream = parts.mlp(self.top_layer, stream)
        if name in ("pre", "post"):
            pre, post = parts.neurons(self.top_layer, stream)
            stream = pre if name == "pre" else post
        return stream[..., self.activation.neuron]
