"""Estimates whose runs are looked up in a table: `hw.estimate_heads` with everything but the model."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from benchmarks.estimates.coverage import Estimator
from benchmarks.estimates.models import gpt2
from benchmarks.estimates.tables import Table
from headwatch.effects.estimated import EstimatedEffects
from headwatch.engine.sweep_run import SweepRun
from headwatch.estimates.costs import Costs
from headwatch.estimates.estimation import Estimation
from headwatch.estimates.head_sweep import HeadSweep, Rows, Runs, Values
from headwatch.estimates.target import Target, TargetStderr
from headwatch.interventions.options import Options
from headwatch.interventions.spec import make_spec
from headwatch.model.hooked_model import HookedModel, attach


@dataclass(frozen=True)
class TabledSweep(HeadSweep):
    """A question whose answers were all measured before.

    Attributes:
        table: the answers.
        costs: what its runs would cost.
    """

    table: Table
    costs: Costs  # type: ignore[assignment]

    def exact(self, rows: Rows, cells: np.ndarray | None = None) -> Values:
        """The exact effects on some pairs, of all heads."""
        return _values(self.table.exact, rows)

    def in_bf16(self, rows: Rows, cells: np.ndarray | None = None) -> Values:
        """The exact effects on some pairs, in bfloat16."""
        return _values(self.table.bf16, rows)

    def at_answer(self, rows: Rows, cells=None) -> Values:
        """The exact effects of replacing the heads at the answer position alone."""
        return _values(self.table.last, rows)

    def first_order(self, rows: Rows) -> tuple[Values, Values]:
        """First-order effects: of the answer position alone, and of all others together."""
        attribution = self.table.attribution
        return _values(attribution[..., -1], rows), _values(attribution[..., :-1].sum(-1), rows)

    def first_order_together(self, rows: Rows) -> Values:
        """First-order effects of all positions at once."""
        return _values(self.table.attribution.sum(-1), rows)

    def not_intervened(self, rows: Rows | None = None) -> Runs:
        """The metric on the runs without an intervention."""
        clean, corrupted = (each.double().numpy() for each in (self.table.clean, self.table.corrupted))
        return {"clean": clean, "corrupted": corrupted, "given": np.full(len(clean), np.nan)}


def estimator(
    table: Table,
    target_stderr: TargetStderr = "exact",
    budget: float | None = None,
    costs: Costs | None = None,
) -> Estimator:
    """What `hw.estimate_heads` finds on draws of a table's pairs.

    The covariates are those that need no fast bfloat16, so that the machine doesn't matter.

    Args:
        table: the answers.
        target_stderr: as for `hw.estimate_heads`.
        budget: likewise.
        costs: what runs cost; None for what they cost on the table's own model.
    """
    n_layers, n_heads = table.exact.shape[1:]
    ids = max(int(table.pairs.clean.max()), int(table.pairs.answer.max()), int(table.pairs.foil.max()))
    with attach(gpt2(n_layers, n_heads, ids + 1).double()) as hooked:
        pass
    target = Target.of(target_stderr)
    if costs is None:
        costs = HeadSweep(_run(hooked, table)).costs

    def estimate(some: Table, seed: int) -> EstimatedEffects:
        return Estimation(TabledSweep(_run(hooked, some), some, costs), target, budget, seed, _nobody).run()

    return estimate


def _run(hooked: HookedModel, table: Table) -> SweepRun:
    """A sweep that has a shape and a metric, and is never run."""
    options = Options.of({"engine": "hooks"})
    spec = make_spec(hooked.architecture, table.pairs, "z", table.kind, table.metric, options)
    return SweepRun(hooked, table.pairs, spec, table.kind, options, None)


def _nobody(share: float) -> None:
    """Tells nobody how far the estimate is."""


def _values(effects: Tensor, rows: Rows) -> Values:
    return effects[rows].flatten(1).double().numpy()
