"""`estimate_heads`: every head's effect with an honest interval, at a share of the exact sweep's cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Unpack, overload

import torch
from torch import nn

from headwatch.effects.estimated import EstimatedEffects
from headwatch.engine.sweep_run import SweepRun
from headwatch.estimates.estimation import Estimation
from headwatch.estimates.head_sweep import HeadSweep
from headwatch.estimates.target import Target, TargetStderr, check_budget
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.arguments import check_pairs, whole_number
from headwatch.interventions.options import (
    Options,
    Progress,
    SweepOptions,
    in_precision,
    spell_out_options,
)
from headwatch.interventions.reference import check_reference
from headwatch.interventions.sites import (
    ABLATIONS,
    DIRECTIONS,
    SITES,
    AblationKind,
    Direction,
    get_site,
)
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList
from headwatch.model.eval_mode import eval_mode
from headwatch.model.hooked_model import attach
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of
from headwatch.scores.gradient_importance import pause_listening

Kind = AblationKind | Direction
HeadSite = Literal["z", "q", "k", "v", "pattern", "result"]


@overload
def estimate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: Kind = ...,
    metric: str | Metric | None = ...,
    site: HeadSite = ...,
    budget: float | None = ...,
    target_stderr: TargetStderr = ...,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> EstimatedEffects: ...


@overload
def estimate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: Kind = ...,
    metric: MetricList,
    site: HeadSite = ...,
    budget: float | None = ...,
    target_stderr: TargetStderr = ...,
    reference: PromptPairs | None = ...,
    **options: Unpack[SweepOptions],
) -> dict[str, EstimatedEffects]: ...


@spell_out_options
def estimate_heads(
    model: nn.Module,
    pairs: PromptPairs,
    *,
    kind: str = "mean",
    metric: str | Metric | MetricList | None = None,
    site: str = "z",
    budget: float | None = None,
    target_stderr: TargetStderr = None,
    reference: PromptPairs | None = None,
    **options: Unpack[SweepOptions],
) -> EstimatedEffects | dict[str, EstimatedEffects]:
    """What `ablate_heads` or `patch_activations` finds for every head, at a share of its cost, with honest intervals.

    Every head is run exactly on 4 pairs, then those whose error still matters on more. What is cheap to know of all
    pairs (first-order effects, exact effects of the answer position, bfloat16) takes the place of the other runs,
    where it pays: see `EstimatedEffects` and the page 'estimates' of the documentation.

    Example:
        >>> pairs = hw.tasks.ioi(tokenizer, n=16)
        >>> found = hw.estimate_heads(model, pairs, budget=0.5)            # half of the exact sweep's cost at most
        >>> found.mean.shape, found.stderr.shape                           # [layer, head]
        (torch.Size([12, 12]), torch.Size([12, 12]))
        >>> found = hw.estimate_heads(model, pairs, kind="denoise", target_stderr="2%")

    Args:
        model: a GPT-2, or a module that contains one.
        pairs: the prompt pairs; intervals are for all prompts like these.
        kind: what replaces the activation: an ablation (`zero`, `mean`, `position_mean`, `resample`), or `denoise` or
            `noise` for patching.
        metric: a name or a `Metric`; several in a list, one estimate after the other; None for the pairs' own.
        site: `z`, `q`, `k`, `v`, `pattern` or `result`.
        budget: what it may cost, as a share of the exact sweep: counted in forward-equivalents, and by the clock. At
            least what 4 exact runs a head cost, 4 / n and the means, the fewest that give an interval. None for no
            limit.
        target_stderr: when a head has had enough exact runs: a standard error in the metric's unit, a share of the
            largest effect such as `"2%"`, or `"exact"`, 1.1 times that of the exact sweep (1.22 times for hard heads,
            which take 10 runs or more), where every head ends in any case. None for `"1%"`.
        reference: the prompts whose clean runs give what `mean`, `position_mean` and `resample` write; None for all
            pairs'.
        **options: see `SweepOptions`.

    Returns:
        Estimates `[layer, head]`, in the metric's unit and with the sign of the exact effect; for several metrics a
        dict of them by the metric's name.

    Raises:
        ValueError: a bad argument, an option that has no effect here, pairs that don't fit the model, or a budget
            that is too small for an interval.
        RuntimeError: `engine="exact"`, and the engine can't follow the model.
    """
    check_pairs(pairs)
    one_of("kind", kind, (*ABLATIONS, *DIRECTIONS))
    _check_site(site)
    target, several = Target.of(target_stderr), isinstance(metric, list | tuple)
    check_budget(budget)
    seed = whole_number("seed", options.pop("seed", 0), at_least=0)
    chosen = Options.of(_for_heads(options, seed if kind == "resample" else 0))
    with (
        attach(model) as hooked,
        torch.inference_mode(False),
        eval_mode(hooked.model),
        pause_listening(),
        in_precision(chosen.precision, hooked.architecture.device),
    ):
        pairs.check(hooked.sizes)
        pairs = pairs.to(hooked.architecture.device)
        spec = make_spec(hooked.architecture, pairs, site, kind, metric, chosen)
        reference = check_reference(reference, kind, pairs, hooked.architecture)
        values = AblationValues.of(hooked, pairs, spec, kind, chosen, reference)
        found = {}
        for number, one in enumerate(spec.metrics):
            run = SweepRun(hooked, pairs, replace(spec, metrics=(one,)), kind, chosen, values)
            tell = _telling(chosen.progress, len(pairs), number, len(spec.metrics))
            found[one.name] = Estimation(HeadSweep(run), target, budget, seed, tell).run()
    return found if several else found[spec.metric.name]


def _telling(progress: Progress | None, n_pairs: int, number: int, n_metrics: int) -> Callable[[float], None]:
    """Tells of the share of one metric's question that is answered, in pairs of all metrics' questions."""

    def tell(share: float) -> None:
        if progress is not None:
            progress(round((number + share) / n_metrics * n_pairs), n_pairs)

    return tell


def _check_site(site: str) -> None:
    if get_site(site).unit != "head":
        known = ", ".join(name for name, place in SITES.items() if place.unit == "head")
        raise ValueError(f"site={site!r} has no heads to estimate: known: {known}")


def _for_heads(options: Any, seed: int) -> dict[str, Any]:
    """The options, less those that have no effect on estimates."""
    for name, instead in (
        ("by_position", "ablate or patch by position exactly"),
        ("neurons", "heads are estimated"),
    ):
        if options.get(name):
            raise ValueError(f"{name}= has no effect on estimates of heads: {instead}")
    return dict(options) | ({"seed": seed} if seed else {})
