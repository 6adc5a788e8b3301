"""A training with a probe, as these tests start one, and where its results stand."""

import json

import lightning.pytorch as pl

from headwatch_callbacks import record_folder
from tests.headwatch_callbacks.training import Language, batches, trainer


def fit(probe, root, module=None, **settings):
    """Train with a probe and return the trainer."""
    settings = {"val_check_interval": 3, "num_sanity_val_steps": 1} | settings
    run = trainer([probe] if isinstance(probe, pl.Callback) else probe, root, **settings)
    run.fit(module or Language(), batches(), batches(2, shuffle=False))
    return run


def steps_in(run):
    """The x of every result in the record, in the order in which they were written."""
    lines = (record_folder(run) / "probes.jsonl").read_text().splitlines()
    return [line["step"] for line in map(json.loads, lines) if line["type"] == "effects"]
