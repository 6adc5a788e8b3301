"""Answers a question about a model: runs every intervention of a sweep on every pair and returns the effects."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from headwatch.effects import Effects
from headwatch.engine.experiment import SweepResult
from headwatch.engine.sweep_run import SweepRun
from headwatch.engine.ticks import Ticks
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.arguments import check_pairs
from headwatch.interventions.batch import Paths
from headwatch.interventions.batching import read_together
from headwatch.interventions.options import Options, in_precision
from headwatch.interventions.reference import check_reference
from headwatch.interventions.spec import make_spec
from headwatch.metrics import Metric, MetricList
from headwatch.model.eval_mode import eval_mode
from headwatch.model.hooked_model import attach
from headwatch.prompts.pairs import PromptPairs


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
    reference: PromptPairs | None = None,
    rows: Int[Tensor, " some"] | None = None,
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
        reference: the prompts whose clean runs give what is written; None for those of all pairs.
        rows: the pairs that are run, in the order of the effects; None for all. What is written comes from all of them
            either way, so that the effects on some are those that they have among all.

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
        ticks, found = (
            Ticks(chosen.progress, len(pairs if rows is None else rows), len(groups)),
            dict[str, Effects](),
        )
        started = time.perf_counter()
        reference = check_reference(reference, kind, pairs, hooked.architecture)
        values = AblationValues.of(hooked, pairs, spec, kind, chosen, reference)
        for metrics in groups:
            sweep = replace(spec, metrics=metrics)
            run = SweepRun(hooked, pairs, sweep, kind, chosen, values, ticks)
            found |= _effects(run, rows, started)
            started = time.perf_counter()
    if isinstance(metric, list | tuple):
        return {one.name: found[one.name] for one in spec.metrics}
    return found[spec.metric.name]


def _effects(run: SweepRun, rows: Tensor | None, started: float) -> dict[str, Effects]:
    """The effects on the pairs that are run, by the metric's name."""
    result = run.result(rows=rows)
    seconds = time.perf_counter() - started
    named = enumerate(run.sweep.metrics)
    return {metric.name: _effects_on(run, metric, result.of_metric(i), seconds) for i, metric in named}


def _effects_on(run: SweepRun, metric: Metric, result: SweepResult, seconds: float) -> Effects:
    sweep = run.sweep
    effects, clean, corrupted, given = (None if part is None else part.float().cpu() for part in result)
    assert effects is not None
    assert clean is not None
    return Effects(
        effects,
        clean,
        corrupted,
        sweep.dims,
        sweep.site.name,
        run.kind,
        metric.name,
        seconds=seconds,
        given=given,
        coords=sweep.coords(run.pairs.clean.shape[1]),
        receivers=sweep.receivers,
        receiver_input=None if sweep.paths is None else sweep.paths.receiver_input or None,
    )
