"""One question about every head, answered in parts: exactly on some pairs, cheaply on all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headwatch.attribution.linearise import Attribution, Estimates
from headwatch.engine.experiment import SweepResult
from headwatch.engine.sweep_run import SweepRun
from headwatch.estimates.costs import Costs, costs_of
from headwatch.interventions.batch import Sweep, make_batch
from headwatch.interventions.batching import read_lengths
from headwatch.interventions.options import Options, in_precision
from headwatch.interventions.sites import DIRECTIONS, takes_means

Rows = Int[np.ndarray, " some"]
Values = Float[np.ndarray, "some cell"]
Cells = Bool[np.ndarray, " cell"]
Runs = Mapping[str, Float[np.ndarray, " pair"]]


@dataclass(frozen=True)
class HeadSweep:
    """Every head of a question as one cell, `[layer * head]`.

    Attributes:
        run: the exact sweep.
    """

    run: SweepRun

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads."""
        sweep = self.run.sweep
        assert sweep.units is not None
        return len(sweep.layers), len(sweep.units)

    @property
    def n_pairs(self) -> int:
        """The number of pairs."""
        return len(self.run.pairs)

    def exact(self, rows: Rows, cells: Cells | None = None) -> Values:
        """The exact effects on some pairs, of some heads; NaN for the others."""
        return self._noted(rows, self.run.result(self._of(cells), torch.from_numpy(rows)))

    def in_bf16(self, rows: Rows, cells: Cells | None = None) -> Values:
        """The exact effects on some pairs, of some heads, in bfloat16."""
        with in_precision("bf16", self.run.hooked.architecture.device):
            return _values(self.run.result(self._of(cells), torch.from_numpy(rows)).effects)

    def at_answer(self, rows: Rows) -> Values:
        """The exact effects of replacing the heads at the answer position alone."""
        pairs, found = self.run.pairs, np.empty((len(rows), int(np.prod(self.shape))))
        positions = pairs.position.cpu().numpy()[rows]
        for position in np.unique(positions):
            here = positions == position
            sweep = replace(self.run.sweep, by_position=True, positions=(int(position),))
            effects = self.run.result(sweep, torch.from_numpy(rows[here])).effects
            found[here] = _values(effects[..., 0])
        return found

    def first_order(self, rows: Rows) -> tuple[Values, Values]:
        """First-order effects: of the answer position alone, and of all others together."""
        found = self._attributed(rows, by_position=True)[0].double().cpu()
        position = self.run.pairs.position.cpu()[torch.from_numpy(rows)]
        at_answer = found.gather(-1, position[:, None, None, None].expand(*found.shape[:-1], 1))[..., 0]
        elsewhere = found.sum(-1) - at_answer
        return at_answer.flatten(1).numpy(), elsewhere.flatten(1).numpy()

    def first_order_together(self, rows: Rows) -> Values:
        """First-order effects of all positions at once."""
        return _values(self._attributed(rows, by_position=False))

    def not_intervened(self, rows: Rows | None = None) -> Runs:
        """The metric on the runs without an intervention, by their names; those that weren't made yet are made."""
        missing = np.flatnonzero(~self._measured)
        if rows is not None:
            missing = np.intersect1d(missing, rows)
        if len(missing):
            nothing = replace(self.run.sweep, only=frozenset())
            self._noted(missing, self.run.result(nothing, torch.from_numpy(missing)))
        return self._runs

    @property
    def base(self) -> str:
        """The run that effects are measured from."""
        if self.run.sweep.given:
            return "given"
        return "corrupted" if self.run.kind == "denoise" else "clean"

    @property
    def length(self) -> float:
        """How many tokens of a prompt are read, on average."""
        return read_lengths(self.run.pairs, self.run.sweep.metrics).double().mean().item()

    @cached_property
    def costs(self) -> Costs:
        """What a pair's runs cost, in forward-equivalents."""
        pairs, sweep, length = self.run.pairs, self.run.sweep, self.length
        patching = self.run.kind in DIRECTIONS
        start = pairs.first_difference.double().mean().item() if patching else 0.0
        return costs_of(
            self.run.hooked.sizes,
            round(length),
            changed=max(1, round(length - start)),
            plain_runs=1 + patching + bool(sweep.given),
            from_others=self.run.kind == "resample",
            means=takes_means(self.run.kind),
            everywhere=sweep.metric.reads == "sequence",
            by_hooks=self.run.options.engine == "hooks",
            one_answer=make_batch(pairs, corrupted=False, clean_logits=None).answers_at(sweep.metrics)
            is not None,
        )

    def of_each_head(self, by_layer: Float[np.ndarray, " layer"]) -> Float[np.ndarray, " cell"]:
        """What one head costs on one pair, from its cost in each layer of the model."""
        return np.repeat(by_layer[list(self.run.sweep.layers)], self.shape[1])

    def _of(self, cells: Cells | None) -> Sweep:
        """The sweep of some heads, or of all."""
        sweep = self.run.sweep
        if cells is None or cells.all():
            return sweep
        assert sweep.units is not None
        places = [(layer, unit) for layer in sweep.layers for unit in sweep.units]
        asked = frozenset(place for place, chosen in zip(places, cells, strict=True) if chosen)
        return replace(sweep, only=asked)

    def _attributed(self, rows: Rows, *, by_position: bool) -> Tensor:
        run = self.run
        sweep = replace(run.sweep, by_position=by_position)
        attribution = Attribution(run.hooked, run.pairs, sweep, run.kind, run.values)
        found = attribution.run(Options(batch_size=run.options.batch_size), torch.from_numpy(rows))
        self._note(rows, found)
        return found.effects

    @cached_property
    def _runs(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _measured(self) -> Bool[np.ndarray, " pair"]:
        """On which pairs these runs were made."""
        return np.zeros(self.n_pairs, bool)

    def _noted(self, rows: Rows, result: SweepResult) -> Values:
        self._note(rows, result)
        return _values(result.effects)

    def _note(self, rows: Rows, result: SweepResult | Estimates) -> None:
        """Keep what was measured without an intervention."""
        self._measured[rows] = True
        for name in ("clean", "corrupted", "given"):
            measured = getattr(result, name)
            if measured is not None:
                values = self._runs.setdefault(name, np.full(self.n_pairs, np.nan))
                values[rows] = measured[0].double().cpu().numpy()


def _values(effects: Tensor) -> Values:
    """The effects of one metric, `[1, pair, layer, head]`, as `[pair, cell]`."""
    return effects[0].detach().flatten(1).double().cpu().numpy()
