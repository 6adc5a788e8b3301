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
from headwatch.gpt2 import GPT2Layout
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
from headwatch.probing import probing

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """What a question may leave to its defaults; `ablate` says what each means."""

    layers: Sequence[int] | None = None
    neurons: Sequence[int] | None = None
    by_position: bool = False
    batch_size: int = 64
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
        parts = _Asking(hooked, pairs, sweep, kind, options).run()
    per_pair, clean, corrupted = (torch.cat(part).float().cpu() if part else None for part in parts)
    assert per_pair is not None
    assert clean is not None
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
    if options.batch_size < 1:
        raise ValueError(f"batch_size={options.batch_size}: give 1 or more")
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

    def run(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Effects, clean metric and corrupted metric, batch by batch."""
        source = replacement(
            self.kind,
            self.pairs,
            self.sweep.site,
            self.sweep.layers,
            self._activations,
            seed=self.options.seed,
            batch_size=self.options.batch_size,
        )
        effects, clean, corrupted = [], [], []
        done = 0
        for rows in torch.arange(len(self.pairs)).split(self.options.batch_size):
            effect, on_clean, on_corrupted = self._batch(rows, source)
            effects.append(effect)
            clean.append(on_clean)
            corrupted += [] if on_corrupted is None else [on_corrupted]
            done += len(rows)
            if self.options.progress is not None:
                self.options.progress(done, len(self.pairs))
        return effects, clean, corrupted

    def _batch(self, rows: Tensor, source: Replacement) -> tuple[Tensor, Tensor, Tensor | None]:
        some, metric = self.pairs[rows], self.sweep.metric
        clean_batch = self._with_clean_logits(make_batch(some, corrupted=False, clean_logits=None))
        clean = clean_batch.measure(self.hooked, metric)
        corrupted = None
        base, not_intervened = clean_batch, clean
        if self.kind in DIRECTIONS:
            batch = make_batch(some, corrupted=True, clean_logits=clean_batch.targets.clean_logits)
            corrupted = batch.measure(self.hooked, metric)
            if self.kind == "denoise":
                base, not_intervened = batch, corrupted
        values = source.values(self.pairs, rows, self.sweep.site, self.sweep.layers, self._activations)
        intervened = sweep_by_hooks(self.hooked, base, self.sweep, values)
        shape = (-1, *[1] * (intervened.ndim - 1))
        return intervened - not_intervened.view(shape), clean, corrupted

    def _with_clean_logits(self, batch: Batch) -> Batch:
        """The batch with what `kl` compares with: the clean run's logits at the answer."""
        if self.sweep.metric.name != "kl":
            return batch
        logits = batch.at_answer(gpt2.logits(self.hooked.model, batch.ids, batch.mask))
        return replace(batch, targets=replace(batch.targets, clean_logits=logits))

    def _activations(self, ids: Tensor, mask: Tensor, names: tuple[str, ...]) -> Mapping[str, Tensor]:
        return self.hooked.run_with_cache(ids, mask, list(names))[1]
