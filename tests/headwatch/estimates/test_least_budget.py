"""The least budget is the one that `estimate_heads` draws the line at."""

import re

import pytest

import headwatch as hw
from headwatch.estimates.least_budget import least_budget
from headwatch.interventions.options import Options
from headwatch.interventions.spec import make_spec
from headwatch.model.find import find_architecture
from tests.models import random_pairs, tiny_gpt2

MODEL = tiny_gpt2()
PAIRS = random_pairs(n=16, length=6)


@pytest.mark.parametrize("engine", ["auto", "hooks"])
@pytest.mark.parametrize("kind", ["zero", "mean", "noise"])
def test_the_least_budget_is_taken_and_less_is_refused(kind, engine):
    network = find_architecture(MODEL)
    options = Options.of({"engine": engine})
    sweep = make_spec(network, PAIRS, "z", kind, "loss", options)
    least = least_budget(network, PAIRS, sweep, kind, options)
    found = hw.estimate_heads(MODEL, PAIRS, kind=kind, metric="loss", engine=engine, budget=least)
    assert (found.n_exact >= 4).all()
    with pytest.raises(ValueError, match=re.escape(f"budget={least - 0.001} is less than")):
        hw.estimate_heads(MODEL, PAIRS, kind=kind, metric="loss", engine=engine, budget=least - 0.001)
