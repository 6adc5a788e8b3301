"""One sweep under way: by the engine where it may answer, else by hooks; on all pairs, or a part of it on some."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from headwatch.engine.by_engine import EngineBackend
from headwatch.engine.executor import Executor, default_max_tokens, out_of_memory
from headwatch.engine.experiment import NewValues, SweepResult, join, run_experiment
from headwatch.engine.one_forward_each import Forward, HooksBackend
from headwatch.engine.read_metric import readable
from headwatch.engine.self_check import Trial, engine_matches_model
from headwatch.engine.ticks import Ticks
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.batch import Sweep
from headwatch.interventions.batching import (
    leading_tokens,
    read_length,
    read_lengths,
    same_length_groups,
    trim,
)
from headwatch.interventions.options import Options
from headwatch.interventions.sites import DIRECTIONS
from headwatch.model.hooked_model import HookedModel
from headwatch.prompts.pairs import PromptPairs
from headwatch.warn import warn_user

_Answer = Callable[[Sweep, Tensor, Callable[[int], None]], SweepResult]


def _nobody(interventions: int) -> None:
    """Tells nobody of work that is done."""


@dataclass(frozen=True)
class SweepRun:
    """One sweep: the engine is checked once, then it is answered on all pairs, or in parts.

    Attributes:
        hooked: the model.
        pairs: the prompt pairs, on its device.
        sweep: which interventions.
        kind: an ablation or a patching direction.
        options: the rest.
        values: what an ablation writes; None for patching.
        ticks: counts what is done.
    """

    hooked: HookedModel
    pairs: PromptPairs
    sweep: Sweep
    kind: str
    options: Options
    values: AblationValues | None
    ticks: Ticks = field(default_factory=lambda: Ticks(None, 1, 1))

    def result(self, sweep: Sweep | None = None, rows: Tensor | None = None) -> SweepResult:
        """What the engine finds where it may answer, else what hooks find.

        Args:
            sweep: fewer or other interventions than the question's; None for those.
            rows: the pairs, in the order of the result; None for all.
        """
        sweep = self.sweep if sweep is None else sweep
        rows = torch.arange(len(self.pairs)) if rows is None else rows
        size = self.options.batch_size
        if not self.engine_answers:
            return self._in_groups(self._by_hooks, sweep, rows, torch.arange(len(rows)).split(size))
        change = self._first_change[rows.to(self._first_change.device)]
        groups = list(same_length_groups(self.pairs[rows], sweep.metrics, change, size))
        return self._in_groups(self._by_engine, sweep, rows, groups)

    @cached_property
    def engine_answers(self) -> bool:
        """Whether the engine answers, as it was asked for and as it can."""
        if self.options.engine == "hooks":
            return False
        exact = self.options.engine == "exact"
        if readable(self.sweep, self.hooked.architecture):
            return engine_matches_model(self._trial, required=exact)
        if exact:
            raise RuntimeError(
                f"engine='exact' can't read {self.sweep.metric.name} under these interventions; "
                "engine='auto' takes hooks"
            )
        return False

    @property
    def _trial(self) -> Trial:
        """The question on a few of its pairs, by either way."""
        return Trial(
            self.hooked,
            self.pairs,
            self.sweep,
            lengths=read_lengths(self.pairs, self.sweep.metrics),
            both=self.kind in DIRECTIONS,
            batch_size=self.options.batch_size,
            by_engine=partial(self._by_engine, done=_nobody),
            by_hooks=lambda sweep, rows, forward: self._by_hooks(sweep, rows, _nobody, forward),
        )

    def _in_groups(
        self, answer: _Answer, sweep: Sweep, rows: Tensor, groups: Sequence[Tensor]
    ) -> SweepResult:
        """The result on each group of the rows; a group that memory doesn't suffice for becomes two."""
        waiting, done, results = deque(groups), list[Tensor](), list[SweepResult]()
        while waiting:
            group, before = waiting.popleft(), self.ticks.done
            try:
                results.append(answer(sweep, rows[group], self.ticks.of(len(group), sweep, self.pairs)))
                done.append(group)
            except RuntimeError as error:
                if not out_of_memory(error) or len(group) == 1:
                    raise
                self._warn_of_memory(len(group))
                waiting.extendleft(reversed(group.split(math.ceil(len(group) / 2))))
                self.ticks.done = before
        return join(results, torch.cat(done).argsort())

    def _warn_of_memory(self, n_pairs: int) -> None:
        """Say once that memory has run out."""
        if not self._executor.ran_out:
            warn_user(
                f"out of memory with the base runs of {n_pairs} pairs: going on with fewer at once; "
                "a smaller batch_size says so from the start"
            )
        self._executor.ran_out = True

    def _by_engine(self, sweep: Sweep, rows: Tensor, done: Callable[[int], None]) -> SweepResult:
        some = self.pairs[rows]
        length = read_length(some, sweep.metrics)
        start = min(int(self._first_change[rows.to(some.clean.device)].min()), length - 1)
        fixed = self.values is not None and self.values.fixed
        shared = leading_tokens(some.clean[:, :length]) if start == 0 and fixed else 0
        values = self._elsewhere(sweep, rows, length)
        backend = EngineBackend(
            self.hooked.architecture, sweep, self._executor, values, length, start, shared
        )
        return run_experiment(backend, some, sweep, self.kind, done)

    def _by_hooks(
        self, sweep: Sweep, rows: Tensor, done: Callable[[int], None], forward: Forward | None = None
    ) -> SweepResult:
        backend = HooksBackend(self.hooked, sweep, self._elsewhere(sweep, rows, None), forward)
        return run_experiment(backend, self.pairs[rows], sweep, self.kind, done)

    def _elsewhere(self, sweep: Sweep, rows: Tensor, length: int | None) -> NewValues | None:
        """The values that an ablation writes in a layer, up to a length; None for patching."""
        if self.values is None:
            return None
        values = self.values.on(rows, sweep.site, sweep.written)
        if length is None:
            return values.__getitem__
        device, dtype = self.hooked.architecture.device, self.hooked.architecture.dtype
        return lambda layer: trim(sweep.site, values[layer].to(device, dtype), length)

    @cached_property
    def _first_change(self) -> Tensor:
        """The first position of each pair at which a new value can differ from the one that it replaces."""
        return self.pairs.first_difference if self.values is None else self.values.first_change()

    @cached_property
    def _executor(self) -> Executor:
        """One executor for all groups, so that it runs out of memory once."""
        bound = self.options.max_tokens_per_batch
        if bound is None:
            bound = default_max_tokens(self.hooked.architecture.device, self.hooked.sizes.d_mlp)
        return Executor(bound)
