"""How interventions travel: each enters in its layer, and those that hold the same positions go up together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.inject import enter
from headwatch.engine.pinned_heads import HeldIn, nothing_held
from headwatch.engine.read_metric import Reader
from headwatch.engine.streams import Rows, merged, through_attention, through_mlp
from headwatch.engine.work_items import Job
from headwatch.interventions.batch import Sweep

NewValues = Callable[[int], Tensor]


@dataclass(frozen=True)
class Climb:
    """The way up for the interventions of one sweep.

    Attributes:
        plain: the run that is intervened on.
        sweep: which interventions.
        reader: reads the metric, and says where.
        new: the values to write in a layer, broadcastable to the site's activation.
        held: which heads the interventions hold in a layer.
    """

    plain: PlainRun
    sweep: Sweep
    reader: Reader
    new: NewValues
    held: HeldIn = nothing_held

    def __call__(self, jobs: Sequence[Job]) -> list[Rows]:
        """The jobs' rows at the point where the metric reads them."""
        stage, active = self.sweep.site.stage, list[Rows]()
        for layer in range(min(job.layer for job in jobs), self.reader.top_layer + 1):
            entering = [self._enter(job) for job in jobs if job.layer == layer]
            active = merged(active + entering) if stage == "pre" else active
            if self.reader.ends_at(layer, "pre"):
                return active
            active = [self._through_attention(layer, rows) for rows in active]
            active = merged(active + entering) if stage == "mid" else merged(active)
            if self.reader.ends_at(layer, "mid"):
                return active
            active = [through_mlp(self.plain, layer, rows) for rows in active]
            active = merged(active + entering) if stage == "post" else active
        return active

    def _enter(self, job: Job) -> Rows:
        held = () if self.sweep.sets is None else self.held(job.layer, job.index)
        return enter(self.plain, self.sweep.site, job, self.new(job.layer), held)

    def _through_attention(self, layer: int, rows: Rows) -> Rows:
        return through_attention(self.plain, layer, rows, held=self.held(layer, rows.index))
