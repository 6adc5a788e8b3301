"""What a question comes to: the sweep that answers it, or a sentence that says why there is none."""

from collections.abc import Sequence
from dataclasses import replace

from headwatch.cell_names import Head
from headwatch.interventions import arguments
from headwatch.interventions.batch import Paths, Sweep
from headwatch.interventions.options import Options
from headwatch.interventions.sites import DIRECTIONS, Site, check_kind, check_one_length, get_site
from headwatch.metrics import Metric, MetricList, get_metrics
from headwatch.model.activation_names import parse
from headwatch.model.architecture import Architecture, Sizes
from headwatch.prompts.pairs import PromptPairs


def make_spec(
    network: Architecture,
    pairs: PromptPairs,
    site: str,
    kind: str,
    metric: str | Metric | MetricList | None,
    options: Options,
    *,
    sets: Sequence[object] | None = None,
    paths: Paths | None = None,
) -> Sweep:
    """The sweep that answers a question.

    Args:
        network: the model.
        pairs: the prompt pairs.
        site: the activation that is replaced.
        kind: an ablation or a patching direction; see `headwatch.interventions.sites`.
        metric: what is measured, one or several; None for the pairs' own.
        options: the rest.
        sets: heads that are replaced together, in place of one by one.
        paths: who alone sees what is replaced.

    Raises:
        ValueError: an argument that is wrong, or an option that can't take effect.
    """
    place = get_site(site)
    if kind not in DIRECTIONS:
        check_kind(kind, place, pairs)
    _check_effect(place, kind, options, sets=sets is not None, paths=paths is not None)
    if options.by_position:
        check_one_length("by_position=True", pairs)
    measured = get_metrics(pairs.metric if metric is None else metric)
    for one in measured:
        if one.activation is not None:
            _check_activation(one, network)
    sizes = network.sizes
    layers = arguments.indices("layers", options.layers, sizes.n_layers)
    network.check_name(place.at(layers[0]))
    given = _heads("given", options.given, sizes)
    sweep = Sweep(place, layers, _units(place, options, sizes), options.by_position, measured, given)
    if paths is not None and paths.receivers is not None:
        arguments.check_heads("receivers", paths.receivers, sizes.n_layers, sizes.units(paths.receiver_input))
    return replace(sweep, paths=paths) if sets is None else _of_sets(sweep, sets, sizes)


def _check_effect(site: Site, kind: str, options: Options, *, sets: bool, paths: bool) -> None:
    """Refuse options that can't take effect on a question."""
    reasons = {
        "neurons": "use site='post' or 'pre'" if site.unit != "neuron" else "",
        "heads": f"it is replaced {site.unit} by {site.unit}" if site.unit != "head" else "",
        "given": "given heads are replaced at site='z'" if site.name != "z" else "",
    }
    for name, reason in reasons.items():
        if reason and options.asks_for(name):
            raise ValueError(f"{name}= has no effect at site={site.name!r}: {reason}")
    if kind != "resample" and options.asks_for("seed"):
        what = "direction" if kind in DIRECTIONS else "kind"
        raise ValueError(f"seed= has no effect with {what}={kind!r}: only kind='resample' draws")
    for asked, what, names in (
        (sets, "sets of heads", ("layers", "heads", "given", "by_position")),
        (paths, "paths", ("given", "by_position")),
    ):
        for name in names if asked else ():
            if options.asks_for(name):
                raise ValueError(f"{name}= has no effect on {what}: leave it out")


def _of_sets(sweep: Sweep, sets: Sequence[object], sizes: Sizes) -> Sweep:
    """The sweep that replaces whole sets of heads."""
    if len(sets) == 0:
        raise ValueError("sets=[]: give some sets of heads, such as [[(9, 6), (9, 9)]]")
    heads = tuple(
        _heads(f"sets[{number}]", each, sizes, at_least_one=True) for number, each in enumerate(sets)
    )
    return replace(sweep, layers=(), units=None, sets=heads)


def _heads(name: str, value: object, sizes: Sizes, *, at_least_one: bool = False) -> tuple[Head, ...]:
    found = arguments.heads(name, value, at_least_one=at_least_one)
    arguments.check_heads(name, found, sizes.n_layers, sizes.n_heads)
    return found


def _units(site: Site, options: Options, sizes: Sizes) -> tuple[int, ...] | None:
    """The heads or neurons that are replaced one at a time; None where a whole layer is."""
    if site.unit == "neuron":
        return arguments.indices("neurons", options.neurons, sizes.d_mlp)
    return arguments.indices("heads", options.heads, sizes.units(site.name)) if site.unit == "head" else None


def _check_activation(metric: Metric, network: Architecture) -> None:
    """Refuse an activation that the model doesn't have."""
    assert metric.activation is not None
    network.check_name(metric.activation.name)
    head, n_heads = metric.activation.head, network.sizes.units(parse(metric.activation.name).name)
    if head is not None and not 0 <= head < n_heads:
        raise ValueError(f"{metric.name}: the model has heads 0 to {n_heads - 1} there")
