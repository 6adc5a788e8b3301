"""How interventions travel: each enters in its layer, and those that hold the same positions go up together."""

from collections.abc import Callable, Sequence

from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.inject import inject
from headwatch.engine.pinned_heads import PinnedIn, nothing_pinned
from headwatch.engine.read_metric import Reader
from headwatch.engine.streams import Streams, merged, through_attention, through_mlp
from headwatch.engine.work_items import WorkItem
from headwatch.interventions.batch import Sweep

NewValues = Callable[[int], Tensor]


def propagate(
    base: BaseRun,
    sweep: Sweep,
    reader: Reader,
    new: NewValues,
    items: Sequence[WorkItem],
    pinned: PinnedIn = nothing_pinned,
) -> list[Streams]:
    """The streams of some interventions at the point where the metric reads them.

    Args:
        base: the run that is intervened on.
        sweep: which interventions the question has.
        reader: reads the metric, and says where.
        new: the values to write in a layer, broadcastable to the site's activation.
        items: the interventions.
        pinned: which heads they pin in a layer.
    """
    stage, active = sweep.site.stage, list[Streams]()
    for layer in range(min(item.layer for item in items), reader.top_layer + 1):
        entering = [_enter(base, sweep, new(layer), item, pinned) for item in items if item.layer == layer]
        active = merged(active + entering) if stage == "pre" else active
        if reader.ends_at(layer, "pre"):
            return active
        active = [through_attention(base, layer, streams, pinned(layer, streams.index)) for streams in active]
        active = merged(active + entering) if stage == "mid" else merged(active)
        if reader.ends_at(layer, "mid"):
            return active
        active = [through_mlp(base, layer, streams) for streams in active]
        active = merged(active + entering) if stage == "post" else active
    return active


def _enter(base: BaseRun, sweep: Sweep, new: Tensor, item: WorkItem, pinned: PinnedIn) -> Streams:
    of_set = () if sweep.sets is None else pinned(item.layer, item.index)
    return inject(base, sweep.site, item, new, of_set)
