"""The least that an estimate can cost, known before anything is run."""

from dataclasses import replace

from headwatch.engine.sweep_run import SweepRun
from headwatch.estimates.estimation import Estimation
from headwatch.estimates.head_sweep import HeadSweep
from headwatch.estimates.target import Target
from headwatch.interventions.batch import Sweep
from headwatch.interventions.options import Options
from headwatch.model.architecture import Architecture
from headwatch.model.hooked_model import attach
from headwatch.prompts.pairs import PromptPairs


def least_budget(
    network: Architecture, pairs: PromptPairs, sweep: Sweep, kind: str, options: Options
) -> float:
    """The smallest `budget=` that `estimate_heads` takes, as a share of the exact sweep's cost.

    Args:
        network: the model.
        pairs: the prompt pairs.
        sweep: the exact sweep; of several metrics, the one that needs most counts.
        kind: an ablation or a patching direction.
        options: the rest of the question.
    """
    with attach(network.model) as hooked:
        runs = [
            SweepRun(hooked, pairs, replace(sweep, metrics=(metric,)), kind, options, None)
            for metric in sweep.metrics
        ]
        return max(Estimation(HeadSweep(run), Target(), None, 0, _nobody).least for run in runs)


def _nobody(share: float) -> None:
    """Tells nobody."""
