"""Reads metrics off interventions that have come up: unembeds no more than they need, and once for all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.streams import Streams
from headwatch.interventions.batch import Batch, Sweep
from headwatch.interventions.sites import Stage
from headwatch.metrics import ActivationAt, Metric, Reads
from headwatch.model.activation_names import parse
from headwatch.model.architecture import Architecture

_MAX_LOGITS = 2**25
_STREAM_STAGES: dict[str, Stage] = {"resid_pre": "pre", "resid_mid": "mid", "resid_post": "post"}
_IN_MLP = ("pre", "post", "mlp_out")


def _stage_of(activation: ActivationAt | None, network: Architecture) -> Stage | None:
    """Where the stream tells what a metric reads; None for an activation that no stream tells."""
    if activation is None:
        return "post"
    name = parse(activation.name).name
    if name in _IN_MLP:
        return "pre" if network.parallel else "mid"
    return _STREAM_STAGES.get(name)


def readable(sweep: Sweep, network: Architecture) -> bool:
    """Whether the engine can read the sweep's metric off the stream.

    It can't where the metric is an activation inside attention, or one inside an MLP whose own output is replaced,
    nor an activation under path patching.
    """
    activation = sweep.activation
    if activation is None:
        return True
    if sweep.paths is not None:
        return False
    replaced = parse(activation.name).name in _IN_MLP and sweep.site.name in (*_IN_MLP, "resid_post")
    return _stage_of(activation, network) is not None and not replaced


@dataclass(frozen=True)
class Reader:
    """Reads the metrics of one sweep.

    Attributes:
        run: the base run, which is intervened on.
        batch: its prompts and what they are compared with.
        metrics: the metrics; one that is read off an activation stands alone.
    """

    run: BaseRun
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
            return self.run.network.sizes.n_layers - 1
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
        return self.read(Streams(self._base_stream[None], 0, self.run.length, index))[:, 0]

    @property
    def _base_stream(self) -> Float[Tensor, "pair pos d_model"]:
        """The base run's stream where the metrics are read."""
        kept = {"pre": self.run.pre, "mid": self.run.mid, "post": self.run.pre[1:]}
        return kept[self._stage][self.top_layer]

    @property
    def _stage(self) -> Stage:
        stage = _stage_of(self.activation, self.run.network)
        assert stage is not None
        return stage

    def read(self, streams: Streams) -> Float[Tensor, "metric intervention pair"]:
        """The metrics of each intervention on each pair."""
        found: dict[str, Tensor] = {}
        for reads in dict.fromkeys(metric.reads for metric in self.metrics):
            alike = [metric for metric in self.metrics if metric.reads == reads]
            values = self._measure(alike, self._values(reads, streams))
            found |= dict(zip([metric.name for metric in alike], values, strict=True))
        return torch.stack([found[metric.name] for metric in self.metrics])

    def _measure(
        self, metrics: Sequence[Metric], parts: Iterator[Tensor]
    ) -> Float[Tensor, "metric intervention pair"]:
        """Metrics that read the same, from what they read of some interventions after others."""
        targets = self.batch.targets
        measured = [torch.stack([metric.function(part, targets) for metric in metrics]) for part in parts]
        return torch.cat(measured, dim=1)

    def _values(self, reads: Reads, streams: Streams) -> Iterator[Float[Tensor, "intervention pair *what"]]:
        """What a kind of metrics reads of the interventions, in parts that memory holds."""
        network = self.run.network
        if reads == "activation":
            yield self._activation(self._last(streams))
        elif reads == "answers":
            tokens = torch.stack([self.batch.targets.answer, self.batch.targets.foil], dim=-1)
            yield network.some_logits(self._last(streams), tokens)
        else:
            stream = self._last(streams) if reads == "vocabulary" else self._whole(streams)
            per_intervention = stream[0, ..., 0].numel() * network.sizes.d_vocab
            for some in stream.split(max(1, _MAX_LOGITS // per_intervention)):
                yield network.logits(some)

    def _last(self, streams: Streams) -> Float[Tensor, "intervention pair d_model"]:
        """The interventions' stream at the last position, which a change may not have reached."""
        if streams.end == self.run.length:
            return streams.stream[:, :, -1]
        return self._base_stream[:, -1].expand(len(streams.index), -1, -1)

    def _whole(self, streams: Streams) -> Float[Tensor, "intervention pair pos d_model"]:
        """The interventions' last stream at all positions."""
        last = self.run.pre[-1].expand(len(streams.index), *self.run.pre[-1].shape)
        after, prefix = last[:, :, streams.end :], streams.shared_prefix
        if prefix is None:
            return torch.cat([last[:, :, : streams.start], streams.stream, after], dim=2)
        of_prefix = prefix.stream.expand(-1, last.shape[1], -1, -1)
        return torch.cat([last[:, :, : prefix.start], of_prefix, streams.stream, after], dim=2)

    def _activation(
        self, stream: Float[Tensor, "intervention pair d_model"]
    ) -> Float[Tensor, "intervention pair"]:
        assert self.activation is not None
        name, network = parse(self.activation.name).name, self.run.network
        if name == "mlp_out":
            stream = network.mlp(self.top_layer, stream)
        if name in ("pre", "post"):
            pre, post = network.neurons(self.top_layer, stream)
            stream = pre if name == "pre" else post
        return stream[..., self.activation.neuron]
