"""What a question comes to: the sweep that answers it, or a sentence that says why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headwatch.engine.pinned_heads import Head
from headwatch.interventions.batch import Paths, Sweep
from headwatch.interventions.sites import DIRECTIONS, Site, check_kind, check_one_length, get_site
from headwatch.metrics import Metric
from headwatch.metrics import get as get_metric
from headwatch.model import gpt2
from headwatch.model.gpt2 import GPT2Layout
from headwatch.prompts.pairs import PromptPairs

Progress = Callable[[int, int], None]
PRECISIONS = ("bf16",)


@dataclass(frozen=True)
class Options:
    """What a question may leave to its defaults; `ablate`, `ablate_heads`, `patch_paths` say what each means."""

    layers: Sequence[int] | None = None
    neurons: Sequence[int] | None = None
    by_position: bool = False
    batch_size: int = 64
    max_tokens_per_batch: int | None = None
    seed: int = 0
    progress: Progress | None = None
    precision: str | None = None
    given: Sequence[Head] = ()
    sets: Sequence[Sequence[Head]] | None = None
    paths: Paths | None = None


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
    if options.precision is not None and options.precision not in PRECISIONS:
        raise ValueError(
            f"unknown precision {options.precision!r}; known: 'bf16', or None for the model's own"
        )
    layers = _choose("layers", options.layers, layout.n_layers)
    measured = get_metric(metric)
    if measured.activation is not None:
        _check_activation(measured, layout)
    sweep = Sweep(place, layers, _units(place, options, layout), options.by_position, measured)
    return _with_heads(sweep, options, layout)


def _with_heads(sweep: Sweep, options: Options, layout: GPT2Layout) -> Sweep:
    """The sweep with the heads that it names one by one."""
    given = _heads("given", options.given, layout)
    if options.sets is not None:
        if not options.sets:
            raise ValueError("sets=[]: give some sets of heads, such as [[(9, 6), (9, 9)]]")
        sets = tuple(
            _heads(f"sets[{number}]", heads, layout, some=True) for number, heads in enumerate(options.sets)
        )
        return replace(sweep, layers=(), units=None, sets=sets)
    if options.paths is not None and options.paths.receivers is not None:
        _heads("receivers", options.paths.receivers, layout, some=True)
    return replace(sweep, given=given, paths=options.paths)


def _heads(what: str, heads: Sequence[Head], layout: GPT2Layout, *, some: bool = False) -> tuple[Head, ...]:
    """The heads, if the model has them."""
    if some and not heads:
        raise ValueError(f"{what}={list(heads)}: give some heads as (layer, head)")
    for head in heads:
        if not (
            isinstance(head, tuple | list)
            and len(head) == 2
            and all(isinstance(number, int) for number in head)
            and 0 <= head[0] < layout.n_layers
            and 0 <= head[1] < layout.n_heads
        ):
            raise ValueError(
                f"{what}: {head!r} is no (layer, head) of this model: layers 0 to {layout.n_layers - 1}, "
                f"heads 0 to {layout.n_heads - 1}"
            )
    return tuple((layer, head) for layer, head in heads)


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
