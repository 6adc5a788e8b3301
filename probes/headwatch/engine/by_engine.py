"""The sweep engine as a way of running an experiment: base runs kept layer by layer, interventions in batches."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.executor import Executor
from headwatch.engine.experiment import NewValues
from headwatch.engine.pinned_heads import PinnedIn, nothing_pinned, pinned_by_set
from headwatch.engine.propagate import propagate
from headwatch.engine.propagate_paths import propagate_paths
from headwatch.engine.read_metric import Reader
from headwatch.engine.work_items import work_items_of
from headwatch.interventions.batch import Batch, Sweep
from headwatch.model.architecture import Architecture


@dataclass(frozen=True)
class EngineBackend:
    """Runs prompts that are read at one position.

    Attributes:
        network: the model.
        sweep: which interventions.
        executor: runs them within a memory bound.
        elsewhere: the new values by layer where they come from no run of these prompts, else None.
        length: how many positions of the prompts matter.
        start: the first position that an intervention can change.
        shared: how many leading tokens are computed once for all prompts.
    """

    network: Architecture
    sweep: Sweep
    executor: Executor
    elsewhere: NewValues | None
    length: int
    start: int
    shared: int

    def run(self, batch: Batch) -> Reader:
        """Run some prompts; those that come without clean logits are the clean ones themselves."""
        run = self._base_run(batch)
        if batch.targets.clean_logits is None and any(each.name == "kl" for each in self.sweep.metrics):
            batch = batch.compared_with(self.network.logits(run.pre[-1][:, -1]))
        return Reader(run, batch, self.sweep.metrics)

    def new_values(self, source: Reader | None) -> NewValues:
        """The values to write in a layer: those of a run, or those that come from elsewhere."""
        if source is None:
            assert self.elsewhere is not None
            return self.elsewhere
        run, site = source.run, self.sweep.site.name
        return lambda layer: run.activation(site, layer)

    def with_given_heads(self, base: Reader, new: NewValues) -> Reader:
        """A run in which the given heads have their new values."""
        return replace(base, run=self._base_run(base.batch, self._pinned(new)))

    def intervene(
        self, base: Reader, new: NewValues, done: Callable[[int], None]
    ) -> Float[Tensor, "metric pair intervention"]:
        """The metrics under each intervention on a run; `done` is told of so many interventions more."""
        run, sweep = base.run, self.sweep
        paths, pinned = sweep.paths is not None, self._pinned(new)
        if paths:
            to_the_top = partial(propagate_paths, run, sweep, new)
        else:
            to_the_top = partial(propagate, run, sweep, base, new, pinned=pinned)
        count = torch.Size(sweep.shape(base.batch)).numel()
        return self.executor.run(
            base, count, work_items_of(run, base.batch, sweep, self.start), to_the_top, done
        )

    def _base_run(self, batch: Batch, pinned: PinnedIn = nothing_pinned) -> BaseRun:
        ids, answer_only = batch.ids[:, : self.length], self.sweep.answer_only
        return BaseRun.of(self.network, ids, answer_only=answer_only, n_shared=self.shared, pinned=pinned)

    def _pinned(self, new: NewValues) -> PinnedIn:
        """Which heads stay replaced in interventions: those of their sets, or the given ones."""
        sweep = self.sweep
        sets = sweep.sets if sweep.sets is not None else [sweep.given] if sweep.given else []
        return pinned_by_set(sets, new, self.network.sizes.n_heads, self.network.device)
