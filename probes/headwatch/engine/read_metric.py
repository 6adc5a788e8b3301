"""Reads the metric off interventions that have come up: unembeds no more than the metric needs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.streams import Rows
from headwatch.interventions.batch import Batch, Sweep
from headwatch.interventions.sites import Stage
from headwatch.metrics import Metric
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
    activation = sweep.metric.activation
    if activation is None:
        return True
    if sweep.paths is not None:
        return False
    stage = _ACTIVATION_STAGES.get(parse(activation.name).name)
    in_mlp = stage == "mid" and parse(activation.name).name != "resid_mid"
    return stage is not None and not (in_mlp and sweep.site.name in ("mlp_out", "resid_post", "pre", "post"))


@dataclass(frozen=True)
class Reader:
    """Reads one metric.

    Attributes:
        run: the plain run that is intervened on.
        batch: its prompts and what they are compared with.
        metric: the metric.
    """

    run: PlainRun
    batch: Batch
    metric: Metric

    @cached_property
    def top_layer(self) -> int:
        """The layer at which the metric is read."""
        if self.metric.activation is None:
            return self.run.parts.sizes.n_layers - 1
        layer = parse(self.metric.activation.name).layer
        assert layer is not None
        return layer

    def ends_at(self, layer: int, stage: Stage) -> bool:
        """Whether the metric is read there, below the end of the top layer."""
        return layer == self.top_layer and stage == self._stage

    @cached_property
    def plain(self) -> Float[Tensor, " pair"]:
        """The metric on the plain run, `[pair]`."""
        index = torch.zeros(1, dtype=torch.long)
        return self.read(Rows(self._plain_stream[None], 0, self.run.length, index))[0]

    @property
    def _plain_stream(self) -> Float[Tensor, "pair pos d_model"]:
        """The plain run's stream where the metric is read."""
        streams = {"pre": self.run.pre, "mid": self.run.mid, "post": self.run.pre[1:]}
        return streams[self._stage][self.top_layer]

    @property
    def _stage(self) -> Stage:
        if self.metric.activation is None:
            return "post"
        return _ACTIVATION_STAGES[parse(self.metric.activation.name).name]

    def read(self, rows: Rows) -> Float[Tensor, "row pair"]:
        """The metric of each row on each pair, `[row, pair]`."""
        reads = self.metric.reads
        if reads == "activation":
            return self._activation(self._last(rows))
        if reads == "answers":
            tokens = torch.stack([self.batch.targets.answer, self.batch.targets.foil], dim=-1)
            values = self.run.parts.some_logits(rows.stream[:, :, -1], tokens)
            return self.metric.function(values, self.batch.targets)
        stream = rows.stream[:, :, -1] if reads == "vocabulary" else self._whole(rows)
        per_row = stream[0, ..., 0].numel() * self.run.parts.sizes.d_vocab
        parts = stream.split(max(1, _MAX_LOGITS // per_row))
        return torch.cat(
            [self.metric.function(self.run.parts.logits(part), self.batch.targets) for part in parts]
        )

    def _last(self, rows: Rows) -> Float[Tensor, "row pair d_model"]:
        """The rows' stream at the last position, which a change may not have reached."""
        if rows.end == self.run.length:
            return rows.stream[:, :, -1]
        return self._plain_stream[:, -1].expand(len(rows.index), -1, -1)

    def _whole(self, rows: Rows) -> Float[Tensor, "row pair pos d_model"]:
        """The rows' last stream at all positions."""
        last = self.run.pre[-1].expand(len(rows.index), *self.run.pre[-1].shape)
        if rows.lead is None:
            return torch.cat([last[:, :, : rows.start], rows.stream, last[:, :, rows.end :]], dim=2)
        lead = rows.lead.stream.expand(-1, last.shape[1], -1, -1)
        return torch.cat([last[:, :, : rows.lead.start], lead, rows.stream, last[:, :, rows.end :]], dim=2)

    def _activation(self, stream: Float[Tensor, "row pair d_model"]) -> Float[Tensor, "row pair"]:
        assert self.metric.activation is not None
        name, parts = parse(self.metric.activation.name).name, self.run.parts
        if name == "mlp_out":
            stream = parts.mlp(self.top_layer, stream)
        if name in ("pre", "post"):
            pre, post = parts.neurons(self.top_layer, stream)
            stream = pre if name == "pre" else post
        return stream[..., self.metric.activation.neuron]
