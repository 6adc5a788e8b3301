"""Answers a question about a model: runs every intervention of a sweep on every pair and returns the effects."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from headwatch.effects import Effects
from headwatch.engine.by_engine import EngineBackend
from headwatch.engine.executor import Executor, default_max_tokens, out_of_memory
from headwatch.engine.experiment import NewValues, SweepResult, join, run_experiment
from headwatch.engine.one_forward_each import Forward, HooksBackend
from headwatch.engine.read_metric import readable
from headwatch.engine.self_check import Trial, engine_matches_model
from headwatch.interventions.arguments import check_pairs
from headwatch.interventions.batch import Paths, Sweep
from headwatch.interventions.batching import (
    leading_tokens,
    read_length,
    read_lengths,
    read_together,
    same_length_groups,
    trim,
)
from headwatch.interventions.options import Options, Progress, in_precision
from headwatch.interventions.sites import DIRECTIONS, Replacement, replacement
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList
from headwatch.model.eval_mode import eval_mode
from headwatch.model.hooked_model import HookedModel, attach
from headwatch.prompts.pairs import PromptPairs
from headwatch.warn import warn_user


def run_sweep(
    model: nn.Module,
    pairs: PromptPairs,
    site: str,
    kind: str,
    metric: str | Metric | MetricList | None,
    options: Mapping[str, Any],
    *,
    sets: Sequence[Any] | None = None,
    paths: Paths | None = None,
) -> Effects | dict[str, Effects]:
    """The effects of replacing a site, unit by unit.

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        site: the activation that is replaced.
        kind: an ablation or a patching direction; see `headwatch.interventions.sites`.
        metric: what is measured; several give a dict by the metric's name; None for the pairs' own.
        options: those of `SweepOptions` that differ from their defaults.
        sets: heads that are replaced together, in place of one by one.
        paths: who alone sees what is replaced.

    Raises:
        ValueError: a bad argument, or pairs that do not fit the model or the question.
        RuntimeError: the engine is asked for and can't follow the model.
    """
    check_pairs(pairs)
    chosen = Options.of(options)
    with (
        attach(model) as hooked,
        eval_mode(hooked.model),
        in_precision(chosen.precision, hooked.architecture.device),
    ):
        pairs.check(hooked.sizes)
        pairs = pairs.to(hooked.architecture.device)
        spec = make_spec(hooked.architecture, pairs, site, kind, metric, chosen, sets=sets, paths=paths)
        groups = [spec.metrics] if chosen.engine == "hooks" else read_together(pairs, spec.metrics)
        ticks, found = _Ticks(chosen.progress, len(pairs), len(groups)), dict[str, Effects]()
        for metrics in groups:
            sweep = _SweepRun(hooked, pairs, replace(spec, metrics=metrics), kind, chosen, ticks)
            found |= sweep.effects()
    if isinstance(metric, list | tuple):
        return {one.name: found[one.name] for one in spec.metrics}
    return found[spec.metric.name]


@dataclass(frozen=True)
class _SweepRun:
    """One sweep under way."""

    hooked: HookedModel
    pairs: PromptPairs
    sweep: Sweep
    kind: str
    options: Options
    ticks: "_Ticks"

    def effects(self) -> dict[str, Effects]:
        """The effects on all pairs, by the metric's name."""
        started = time.perf_counter()
        result = self._result()
        seconds = time.perf_counter() - started
        named = enumerate(self.sweep.metrics)
        return {metric.name: self._effects(metric, result.of_metric(i), seconds) for i, metric in named}

    def _effects(self, metric: Metric, result: SweepResult, seconds: float) -> Effects:
        sweep = self.sweep
        effects, clean, corrupted, given = (None if part is None else part.float().cpu() for part in result)
        assert effects is not None
        assert clean is not None
        return Effects(
            effects,
            clean,
            corrupted,
            sweep.dims,
            sweep.site.name,
            self.kind,
            metric.name,
            seconds=seconds,
            given=given,
            coords=sweep.coords(self.pairs.clean.shape[1]),
            receivers=sweep.receivers,
            receiver_input=None if sweep.paths is None else sweep.paths.receiver_input or None,
        )

    def _result(self) -> SweepResult:
        """What the engine finds where it may answer, else what hooks find."""
        size = self.options.batch_size
        if self._engine_answers():
            groups = same_length_groups(self.pairs, self.sweep.metrics, self._first_change, size)
            return self._in_groups(self._by_engine, list(groups))
        return self._in_groups(self._by_hooks, list(torch.arange(len(self.pairs)).split(size)))

    def _engine_answers(self) -> bool:
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

    def _in_groups(self, answer: "_Answer", groups: Sequence[Tensor]) -> SweepResult:
        """The result on each group of pairs; a group that memory doesn't suffice for becomes two."""
        waiting, done, results = deque(groups), list[Tensor](), list[SweepResult]()
        while waiting:
            rows, before = waiting.popleft(), self.ticks.done
            try:
                results.append(answer(self.sweep, rows, self.ticks.of(len(rows), self.sweep, self.pairs)))
                done.append(rows)
            except RuntimeError as error:
                if not out_of_memory(error) or len(rows) == 1:
                    raise
                self._warn_of_memory(len(rows))
                waiting.extendleft(reversed(rows.split(math.ceil(len(rows) / 2))))
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
        shared = leading_tokens(some.clean[:, :length]) if start == 0 and self._fixed else 0
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
        if self._ablation is None:
            return None
        values = self._ablation.values(self.pairs, rows, sweep.site, sweep.written, self._activations)
        if length is None:
            return values.__getitem__
        device, dtype = self.hooked.architecture.device, self.hooked.architecture.dtype
        return lambda layer: trim(sweep.site, values[layer].to(device, dtype), length)

    @cached_property
    def _ablation(self) -> Replacement | None:
        """What an ablation writes; None for patching."""
        if self.kind in DIRECTIONS:
            return None
        return replacement(
            self.kind,
            self.pairs,
            self.sweep.site,
            self.sweep.written,
            self._activations,
            seed=self.options.seed,
            batch_size=self.options.batch_size,
        )

    @property
    def _fixed(self) -> bool:
        """Whether the same is written on all pairs."""
        return self._ablation is not None and self._ablation.run is None

    @cached_property
    def _first_change(self) -> Tensor:
        """The first position of each pair at which a new value can differ from the one that it replaces."""
        if self._ablation is None:
            return self.pairs.first_difference
        if self._ablation.run is None:
            return torch.zeros_like(self.pairs.lengths)
        differs = self.pairs.clean != self.pairs.clean[self._ablation.run.to(self.pairs.clean.device)]
        return torch.where(differs.any(1), differs.int().argmax(1), self.pairs.lengths)

    @cached_property
    def _executor(self) -> Executor:
        """One executor for all groups, so that it runs out of memory once."""
        bound = self.options.max_tokens_per_batch
        if bound is None:
            bound = default_max_tokens(self.hooked.architecture.device, self.hooked.sizes.d_mlp)
        return Executor(bound)

    def _activations(self, ids: Tensor, mask: Tensor, names: tuple[str, ...]) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(ids, mask, list(names))[1]


_Answer = Callable[[Sweep, Tensor, Callable[[int], None]], SweepResult]


def _nobody(interventions: int) -> None:
    """Tells nobody of work that is done."""


class _Ticks:
    """Counts the work done, in pairs, and says so.

    Args:
        progress: called with the pairs done and all pairs.
        total: all pairs.
        sweeps: how many sweeps run on all of them.
    """

    def __init__(self, progress: Progress | None, total: int, sweeps: int) -> None:
        self.progress, self.total, self.sweeps, self.done = progress, total, sweeps, 0.0

    def of(self, n_pairs: int, sweep: Sweep, pairs: PromptPairs) -> Callable[[int], None]:
        """Counts interventions on so many pairs."""
        count = math.prod(len(places) for places in sweep.coords(pairs.clean.shape[1]).values()) * self.sweeps

        def done(interventions: int) -> None:
            self.done += n_pairs * interventions / count
            if self.progress is not None:
                self.progress(round(self.done), self.total)

        return done
