"""Questions about every head, set up as `estimate_heads` sets them up, to be asked part by part."""

from contextlib import contextmanager

import torch

import headwatch as hw
from headwatch.engine.sweep_run import SweepRun
from headwatch.estimates.head_sweep import HeadSweep
from headwatch.interventions.ablation_values import AblationValues
from headwatch.interventions.options import Options
from headwatch.interventions.spec import make_spec
from headwatch.model.eval_mode import eval_mode


@contextmanager
def question(model, pairs, kind, metric="logit_diff", site="z", reference=None, **options):
    """A `HeadSweep` on a model that is attached for as long as it is asked."""
    chosen = Options.of(options)
    with hw.attach(model) as hooked, torch.inference_mode(False), eval_mode(hooked.model):
        spec = make_spec(hooked.architecture, pairs, site, kind, metric, chosen)
        values = AblationValues.of(hooked, pairs, spec, kind, chosen, reference)
        yield HeadSweep(SweepRun(hooked, pairs, spec, kind, chosen, values))
