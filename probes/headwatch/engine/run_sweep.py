"""Asks one question of a model: runs every intervention of a sweep on every pair and returns the effects."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from headwatch.effects import Effects
from headwatch.engine.base_run import PlainRun
from headwatch.engine.executor import SweepEngine, default_max_tokens, out_of_memory
from headwatch.engine.one_forward_each import SweepByHooks
from headwatch.engine.pinned_heads import HeldIn, holding
from headwatch.engine.propagate import Climb, NewValues
from headwatch.engine.propagate_paths import PathClimb
from headwatch.engine.read_metric import Reader, readable
from headwatch.engine.self_check import Trial, engine_matches_model
from headwatch.engine.work_items import jobs_of
from headwatch.interventions.batch import Batch, Paths, Sweep, make_batch
from headwatch.interventions.batching import (
    leading_tokens,
    read_length,
    read_lengths,
    same_length_groups,
    trim,
)
from headwatch.interventions.options import Options, Progress
from headwatch.interventions.sites import DIRECTIONS, Replacement, replacement
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList, get_metric
from headwatch.model import gpt2
from headwatch.model.eval_mode import probing
from headwatch.model.gpt2 import GPT2Parts
from headwatch.model.hooked_model import HookedGPT2, attach
from headwatch.prompts.pairs import PromptPairs


class _Answer(NamedTuple):
    """Effects `[pair, *dims]`, and the metric `[pair]` on clean, corrupted and given runs."""

    effects: Tensor
    clean: Tensor
    corrupted: Tensor | None
    given: Tensor | None


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
    chosen = Options.of(options)
    if isinstance(metric, list | tuple):
        return {
            get_metric(one).name: _one(model, pairs, site, kind, one, chosen, sets, paths) for one in metric
        }
    return _one(model, pairs, site, kind, metric, chosen, sets, paths)


def _one(
    model: nn.Module,
    pairs: PromptPairs,
    site: str,
    kind: str,
    metric: str | Metric | None,
    options: Options,
    sets: Sequence[Any] | None,
    paths: Paths | None,
) -> Effects:
    started = time.perf_counter()
    with attach(model) as hooked, probing(hooked.model), _precision(options.precision, hooked.model.device):
        pairs.check(hooked.layout)
        pairs = pairs.to(hooked.model.device)
        sweep = make_spec(hooked.layout, pairs, site, kind, metric, options, sets=sets, paths=paths)
        answer = _Asking(hooked, pairs, sweep, kind, options).run()
    per_pair, clean = answer.effects.float().cpu(), answer.clean.float().cpu()
    corrupted, given = (None if part is None else part.float().cpu() for part in answer[2:])
    seconds = time.perf_counter() - started
    names = (sweep.dims, sweep.site.name, kind, sweep.metric.name)
    return Effects(
        per_pair,
        clean,
        corrupted,
        *names,
        seconds=seconds,
        given=given,
        coords=sweep.coords(pairs.clean.shape[1]),
        receivers=sweep.receivers,
        receiver_input=None if sweep.paths is None else sweep.paths.into or None,
    )


def _precision(name: str | None, device: torch.device) -> AbstractContextManager[object]:
    """The precision of products: as the model and its surroundings have it, or bfloat16."""
    return nullcontext() if name is None else torch.autocast(device.type, dtype=torch.bfloat16)


@dataclass(frozen=True)
class _Asking:
    """One question under way."""

    hooked: HookedGPT2
    pairs: PromptPairs
    sweep: Sweep
    kind: str
    options: Options

    def run(self) -> _Answer:
        """The answer on all pairs."""
        by_engine = self._by_engine_at_all()
        size = self.options.batch_size
        groups = list(
            same_length_groups(self.pairs, self.sweep.metric, self._first_change, size)
            if by_engine
            else torch.arange(len(self.pairs)).split(size)
        )
        tick = _Ticks(self.options.progress, len(self.pairs))
        groups, answers = self._in_parts(
            partial(self._by_engine if by_engine else self._by_hooks, self.sweep), groups, tick
        )
        order = torch.cat(groups).argsort()
        effects, clean, *others = (_joined(parts, order) for parts in zip(*answers, strict=True))
        assert effects is not None
        assert clean is not None
        return _Answer(effects, clean, *others)

    def _by_engine_at_all(self) -> bool:
        """Whether the engine answers, as asked for and as it can."""
        exact = self.options.engine == "exact"
        if self.options.engine == "hooks":
            return False
        if readable(self.sweep):
            return engine_matches_model(self._trial, required=exact)
        if exact:
            raise RuntimeError(
                f"engine='exact' can't read {self.sweep.metric.name} off this question's interventions; "
                "engine='auto' takes hooks"
            )
        return False

    @property
    def _trial(self) -> Trial:
        """The question on a few of its pairs, by either way."""
        silent = _Ticks(None, len(self.pairs))
        return Trial(
            self.hooked,
            self.pairs,
            self.sweep,
            lengths=read_lengths(self.pairs, self.sweep.metric),
            both=self.kind in DIRECTIONS,
            batch_size=self.options.batch_size,
            by_engine=partial(self._by_engine, tick=silent),
            by_hooks=partial(self._by_hooks, tick=silent),
        )

    def _in_parts(
        self, ask: Callable[[Tensor, "_Ticks"], _Answer], groups: Sequence[Tensor], tick: "_Ticks"
    ) -> tuple[list[Tensor], list[_Answer]]:
        """Each group of pairs and its answer; a group that memory doesn't suffice for becomes two."""
        waiting, done, answers = deque(groups), list[Tensor](), list[_Answer]()
        while waiting:
            rows, before = waiting.popleft(), tick.done
            try:
                answers.append(ask(rows, tick))
                done.append(rows)
            except RuntimeError as error:
                if not out_of_memory(error) or len(rows) == 1:
                    raise
                self._warn_of_memory(len(rows))
                waiting.extendleft(reversed(rows.split(math.ceil(len(rows) / 2))))
                tick.done = before
        return done, answers

    def _warn_of_memory(self, n_pairs: int) -> None:
        """Say once that memory has run out."""
        if not self._engine.ran_out:
            warnings.warn(
                f"out of memory with the plain runs of {n_pairs} pairs: going on with fewer at once; "
                "a smaller batch_size says so from the start",
                RuntimeWarning,
                stacklevel=4,
            )
        self._engine.ran_out = True

    @cached_property
    def _source(self) -> Replacement:
        """Where new values come from."""
        return replacement(
            self.kind,
            self.pairs,
            self.sweep.site,
            self.sweep.written,
            self._activations,
            seed=self.options.seed,
            batch_size=self.options.batch_size,
        )

    @cached_property
    def _first_change(self) -> Tensor:
        """The first position of each pair at which a replacement can differ from what it replaces."""
        if self._source.run is None or self.sweep.given:
            return torch.zeros_like(self.pairs.lengths)
        if self.kind in DIRECTIONS:
            return self.pairs.first_difference
        differs = self.pairs.clean != self.pairs.clean[self._source.run.to(self.pairs.clean.device)]
        return torch.where(differs.any(1), differs.int().argmax(1), self.pairs.lengths)

    def _by_engine(self, sweep: Sweep, rows: Tensor, tick: "_Ticks") -> _Answer:
        some, metric = self.pairs[rows], sweep.metric
        length = read_length(some, metric)
        start = min(int(self._first_change[rows.to(some.clean.device)].min()), length - 1)
        batch = make_batch(some, corrupted=False, clean_logits=None)
        parts = GPT2Parts(self.hooked.model, self.hooked.layout)
        answer_only = metric.reads in ("answers", "vocabulary")
        lead = self._lead(some.clean[:, :length], start)
        clean_run = PlainRun.of(parts, some.clean[:, :length], answer_only=answer_only, lead=lead)
        if metric.name == "kl":
            batch = _compared_with(batch, parts.logits(clean_run.pre[-1][:, -1]))
        reader = Reader(clean_run, batch, metric)
        clean, other, corrupted, given = reader.plain, None, None, None
        if self.kind in DIRECTIONS:
            other = PlainRun.of(parts, some.corrupted[:, :length], answer_only=answer_only)
            other_reader = Reader(
                other, make_batch(some, corrupted=True, clean_logits=batch.targets.clean_logits), metric
            )
            corrupted = other_reader.plain
            if self.kind == "denoise":
                reader, other = other_reader, clean_run
        new = self._new_values(sweep, rows, other, length, clean_run.pre[0].dtype)
        held = self._held(sweep, new)
        if sweep.given:
            base = PlainRun.of(parts, reader.run.ids, answer_only=answer_only, lead=lead, held=held)
            reader = replace(reader, run=base)
            given = reader.plain
        intervened = self._swept(sweep, reader, new, held, start, tick.of(len(rows), sweep, batch))
        effects = (intervened - reader.plain[:, None]).unflatten(1, sweep.shape(batch))
        return _Answer(effects, clean, corrupted, given)

    def _held(self, sweep: Sweep, new: NewValues) -> HeldIn:
        """Which heads interventions hold: those of their sets, or the given ones."""
        sets = sweep.sets if sweep.sets is not None else [sweep.given] if sweep.given else []
        return holding(sets, new, self.hooked.layout.n_heads, self.hooked.model.device)

    def _swept(
        self,
        sweep: Sweep,
        reader: Reader,
        new: NewValues,
        held: HeldIn,
        start: int,
        done: Callable[[int], None],
    ) -> Tensor:
        """The metric under each intervention on one run, `[pair, intervention]`."""
        base = reader.run
        climb = Climb(base, sweep, reader, new, held) if sweep.paths is None else PathClimb(base, sweep, new)
        jobs = jobs_of(base, reader.batch, sweep, start)
        count = torch.Size(sweep.shape(reader.batch)).numel()
        return self._engine.run(reader, count, jobs, climb, done)

    def _lead(self, ids: Tensor, start: int) -> int:
        """How many leading tokens are worth computing once for all pairs."""
        return leading_tokens(ids) if self._source.run is None and start == 0 else 0

    def _new_values(
        self, sweep: Sweep, rows: Tensor, other: PlainRun | None, length: int, dtype: torch.dtype
    ) -> NewValues:
        """What is written in a layer, from the pair's other run or from elsewhere."""
        site = sweep.site
        if other is not None:
            return lambda layer: other.activation(site.name, layer)
        values = self._source.values(self.pairs, rows, site, sweep.written, self._activations)
        return lambda layer: trim(site, values[layer].to(self.hooked.model.device, dtype), length)

    @cached_property
    def _engine(self) -> SweepEngine:
        """One engine for all groups, so that it runs out of memory once."""
        bound = self.options.max_tokens_per_batch
        if bound is None:
            bound = default_max_tokens(self.hooked.model.device, self.hooked.layout.d_mlp)
        return SweepEngine(bound)

    def _by_hooks(self, sweep: Sweep, rows: Tensor, tick: "_Ticks") -> _Answer:
        some, metric = self.pairs[rows], sweep.metric
        batch = make_batch(some, corrupted=False, clean_logits=None)
        if metric.name == "kl":
            logits = gpt2.logits(self.hooked.model, batch.ids, batch.mask)
            batch = _compared_with(batch, batch.at_answer(logits))
        clean, corrupted, given = batch.measure(self.hooked, metric), None, None
        base, not_intervened = batch, clean
        if self.kind in DIRECTIONS:
            other = make_batch(some, corrupted=True, clean_logits=batch.targets.clean_logits)
            corrupted = other.measure(self.hooked, metric)
            if self.kind == "denoise":
                base, not_intervened = other, corrupted
        values = self._source.values(self.pairs, rows, sweep.site, sweep.written, self._activations)
        by_hooks = SweepByHooks(self.hooked, base, sweep, values)
        if sweep.given:
            given = not_intervened = by_hooks.not_intervened()
        intervened = by_hooks.run()
        tick.add(len(rows))
        effects = intervened - not_intervened.view(-1, *[1] * (intervened.ndim - 1))
        return _Answer(effects, clean, corrupted, given)

    def _activations(self, ids: Tensor, mask: Tensor, names: tuple[str, ...]) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(ids, mask, list(names))[1]


def _joined(parts: tuple[Tensor | None, ...], order: Tensor) -> Tensor | None:
    """The groups' parts of an answer, in the order of the pairs."""
    some = [part for part in parts if part is not None]
    return torch.cat(some)[order.to(some[0].device)] if some else None


def _compared_with(batch: Batch, clean_logits: Tensor) -> Batch:
    """The batch with what `kl` compares with: the clean run's logits at the answer."""
    return replace(batch, targets=replace(batch.targets, clean_logits=clean_logits))


class _Ticks:
    """Counts the work done, in pairs, and says so."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0.0

    def add(self, pairs: int | float) -> None:
        """So many pairs more are done, or the same share of some."""
        self.done += pairs
        if self.progress is not None:
            self.progress(round(self.done), self.total)

    def of(self, pairs: int, sweep: Sweep, batch: Batch) -> Callable[[int], None]:
        """Counts interventions on so many pairs."""
        count = torch.Size(sweep.shape(batch)).numel()
        return lambda interventions: self.add(pairs * interventions / count)
