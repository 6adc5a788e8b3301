"""Asks one question of a model: runs every intervention of a sweep on every pair and returns the effects."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from headwatch import gpt2
from headwatch.batch import Batch, Sweep, make_batch
from headwatch.by_hooks import sweep_by_hooks
from headwatch.effects import Effects
from headwatch.follows import engine_follows
from headwatch.gpt2 import GPT2Layout, GPT2Parts
from headwatch.groups import read_length, same_length_groups, trim
from headwatch.hooks import HookedGPT2, attach
from headwatch.interventions import (
    DIRECTIONS,
    Replacement,
    Site,
    check_kind,
    check_one_length,
    get_site,
    replacement,
)
from headwatch.metrics import Metric
from headwatch.metrics import get as get_metric
from headwatch.pairs import PromptPairs
from headwatch.plain_run import PlainRun
from headwatch.probing import probing
from headwatch.readout import Reader, readable
from headwatch.sweep import NewValues, SweepEngine, default_max_tokens

Progress = Callable[[int, int], None]
Answer = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Options:
    """What a question may leave to its defaults; `ablate` says what each means."""

    layers: Sequence[int] | None = None
    neurons: Sequence[int] | None = None
    by_position: bool = False
    batch_size: int = 64
    max_tokens_per_batch: int | None = None
    seed: int = 0
    progress: Progress | None = None


def ask(
    model: nn.Module, pairs: PromptPairs, site: str, kind: str, metric: str | Metric, options: Options
) -> Effects:
    """The effects of replacing a site, unit by unit.

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs.
        site: the activation that is replaced.
        kind: an ablation or a patching direction; see `headwatch.interventions`.
        metric: what is measured.
        options: the rest.

    Raises:
        ValueError: a bad site, kind, metric, layer, neuron, or pairs that do not fit the model or the question.
    """
    started = time.perf_counter()
    with attach(model) as hooked, probing(hooked.model):
        pairs.check(hooked.layout)
        pairs = pairs.to(hooked.model.device)
        sweep = plan(hooked.layout, pairs, site, kind, metric, options)
        answer = _Asking(hooked, pairs, sweep, kind, options).run()
    per_pair, clean = answer[0].float().cpu(), answer[1].float().cpu()
    corrupted = None if answer[2] is None else answer[2].float().cpu()
    seconds = time.perf_counter() - started
    name = sweep.metric.name
    return Effects(per_pair, clean, corrupted, sweep.dims, sweep.site.name, kind, name, seconds=seconds)


def plan(
    layout: GPT2Layout, pairs: PromptPairs, site: str, kind: str, metric: str | Metric, options: Options
) -> Sweep:
    """The sweep that answers a question, or a sentence that says why there is none."""
    place = get_site(site)
    if kind not in DIRECTIONS:
        check_kind(kind, place, pairs)
    if options.by_position:
        check_one_length("by_position=True", pairs)
    for name in ("batch_size", "max_tokens_per_batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: give 1 or more")
    layers = _choose("layers", options.layers, layout.n_layers)
    measured = get_metric(metric)
    if measured.activation is not None:
        _check_activation(measured, layout)
    return Sweep(place, layers, _units(place, options, layout), options.by_position, measured)


def _units(site: Site, options: Options, layout: GPT2Layout) -> tuple[int, ...] | None:
    """The heads or neurons that are replaced one at a time; None where a whole layer is."""
    if options.neurons is not None and site.unit != "neuron":
        raise ValueError(f"neurons= has no effect at site={site.name!r}: use site='post' or 'pre'")
    if site.unit == "neuron":
        return _choose("neurons", options.neurons, layout.d_mlp)
    return tuple(range(layout.n_heads)) if site.unit == "head" else None


def _choose(what: str, chosen: Sequence[int] | None, count: int) -> tuple[int, ...]:
    if chosen is None:
        return tuple(range(count))
    if not chosen or not all(0 <= index < count for index in chosen):
        raise ValueError(f"{what}={list(chosen)}: give some of 0 to {count - 1}")
    return tuple(chosen)


def _check_activation(metric: Metric, layout: GPT2Layout) -> None:
    """Refuse an activation that the model doesn't have."""
    assert metric.activation is not None
    gpt2.check_name(metric.activation.name, layout)
    head = metric.activation.head
    if head is not None and not 0 <= head < layout.n_heads:
        raise ValueError(f"{metric.name}: the model has heads 0 to {layout.n_heads - 1}")


@dataclass(frozen=True)
class _Asking:
    """One question under way."""

    hooked: HookedGPT2
    pairs: PromptPairs
    sweep: Sweep
    kind: str
    options: Options

    def run(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Effects `[pair, *dims]`, and the metric on the clean and on the corrupted prompts `[pair]`."""
        by_engine = readable(self.sweep) and engine_follows(self.hooked, self.pairs)
        source = self._source()
        groups = list(
            same_length_groups(
                self.pairs, self.sweep.metric, self._first_change(source), self.options.batch_size
            )
            if by_engine
            else torch.arange(len(self.pairs)).split(self.options.batch_size)
        )
        tick = _Ticks(self.options.progress, len(self.pairs))
        answers = [(self._by_engine if by_engine else self._by_hooks)(rows, source, tick) for rows in groups]
        effects, clean, corrupted = zip(*answers, strict=True)
        order = torch.cat(groups).argsort()
        both = None if corrupted[0] is None else torch.cat(corrupted)[order]
        return torch.cat(effects)[order], torch.cat(clean)[order], both

    def _source(self) -> Replacement:
        options = self.options
        return replacement(
            self.kind,
            self.pairs,
            self.sweep.site,
            self.sweep.layers,
            self._activations,
            seed=options.seed,
            batch_size=options.batch_size,
        )

    def _first_change(self, source: Replacement) -> Tensor:
        """The first position of each pair at which a replacement can differ from what it replaces."""
        if source.run is None:
            return torch.zeros_like(self.pairs.lengths)
        if self.kind in DIRECTIONS:
            return self.pairs.first_difference
        differs = self.pairs.clean != self.pairs.clean[source.run.to(self.pairs.clean.device)]
        return torch.where(differs.any(1), differs.int().argmax(1), self.pairs.lengths)

    def _by_engine(self, rows: Tensor, source: Replacement, tick: "_Ticks") -> Answer:
        some, metric = self.pairs[rows], self.sweep.metric
        length = read_length(some, metric)
        start = min(int(self._first_change(source)[rows.to(some.clean.device)].min()), length - 1)
        batch = make_batch(some, corrupted=False, clean_logits=None)
        parts = GPT2Parts(self.hooked.model, self.hooked.layout)
        answer_only = metric.reads in ("answers", "vocabulary")
        clean_run = PlainRun.of(parts, some.clean[:, :length], answer_only=answer_only)
        if metric.name == "kl":
            batch = _compared_with(batch, parts.logits(clean_run.pre[-1][:, -1]))
        clean = not_intervened = Reader(clean_run, batch, metric).read_plain()
        base, base_batch, other, corrupted = clean_run, batch, None, None
        if self.kind in DIRECTIONS:
            other = PlainRun.of(parts, some.corrupted[:, :length], answer_only=answer_only)
            corrupted_batch = replace(
                batch, ids=some.corrupted, targets=replace(batch.targets, ids=some.corrupted)
            )
            corrupted = Reader(other, corrupted_batch, metric).read_plain()
            if self.kind == "denoise":
                base, base_batch, other, not_intervened = other, corrupted_batch, clean_run, corrupted
        new = self._new_values(rows, source, other, length, base.pre[0].dtype)
        intervened = SweepEngine(self._max_tokens()).run(
            base, base_batch, self.sweep, new, start=start, done=tick.of(len(rows), self.sweep, batch)
        )
        effects = intervened - not_intervened[:, None]
        return effects.unflatten(1, self.sweep.shape(batch)), clean, corrupted

    def _new_values(
        self, rows: Tensor, source: Replacement, other: PlainRun | None, length: int, dtype: torch.dtype
    ) -> NewValues:
        """What is written in a layer, from the pair's other run or from elsewhere."""
        site = self.sweep.site
        if other is not None:
            return lambda layer: other.activation(site.name, layer)
        values = source.values(self.pairs, rows, site, self.sweep.layers, self._activations)
        return lambda layer: trim(site, values[layer].to(self.hooked.model.device, dtype), length)

    def _max_tokens(self) -> int:
        if self.options.max_tokens_per_batch is not None:
            return self.options.max_tokens_per_batch
        return default_max_tokens(self.hooked.model.device, self.hooked.layout.d_mlp)

    def _by_hooks(self, rows: Tensor, source: Replacement, tick: "_Ticks") -> Answer:
        some, metric = self.pairs[rows], self.sweep.metric
        batch = make_batch(some, corrupted=False, clean_logits=None)
        if metric.name == "kl":
            logits = gpt2.logits(self.hooked.model, batch.ids, batch.mask)
            batch = _compared_with(batch, batch.at_answer(logits))
        clean, corrupted = batch.measure(self.hooked, metric), None
        base, not_intervened = batch, clean
        if self.kind in DIRECTIONS:
            other = replace(batch, ids=some.corrupted, targets=replace(batch.targets, ids=some.corrupted))
            corrupted = other.measure(self.hooked, metric)
            if self.kind == "denoise":
                base, not_intervened = other, corrupted
        values = source.values(self.pairs, rows, self.sweep.site, self.sweep.layers, self._activations)
        intervened = sweep_by_hooks(self.hooked, base, self.sweep, values)
        tick.add(len(rows))
        return intervened - not_intervened.view(-1, *[1] * (intervened.ndim - 1)), clean, corrupted

    def _activations(self, ids: Tensor, mask: Tensor, names: tuple[str, ...]) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(ids, mask, list(names))[1]


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
