"""A run whose passes are estimates, with all that a record says of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from headwatch.record import EffectEntry, Record
from tests.headwatch.page.fake_run import write_run

EXACT_STEPS = (0, 80)
N_EXACT = np.tile(np.array([4, 9, 48]), 48).reshape(12, 12)
FREEDOM = np.tile(np.array([3.0, 12.5, 47.0], np.float32), 48).reshape(12, 12)
SUSPECT = np.arange(144).reshape(12, 12) % 31 == 4
EXPLAINED = np.linspace(0.5, 1.0, 144, dtype=np.float32).reshape(12, 12)


def write_estimated_run(directory: Path) -> Path:
    """Five passes of mean ablation on 48 pairs; those at steps 40, 120 and 160 are estimates."""
    write_run(directory, name="estimated", passes=5, frames=0, series=1, by_position=False)
    entries = [estimated(entry) for entry in Record.read(directory).effects]
    note = {"type": "note", "level": "info", "message": "passes keep max_overhead=0.05"}
    lines = [json.dumps(entry.to_json()) for entry in entries]
    (directory / "probes.jsonl").write_text("\n".join([*lines, json.dumps(note), ""]))
    return directory


def estimated(entry: EffectEntry) -> EffectEntry:
    """A pass as an estimate would have it; the exact ones with their overhead alone."""
    entry = replace(entry, overhead=0.03 if entry.step < 160 else 0.0512)
    if entry.step in EXACT_STEPS:
        return entry
    return replace(
        entry,
        exact=False,
        n_exact=N_EXACT,
        degrees_of_freedom=FREEDOM,
        cost=0.243,
        covariate="first order+last position",
        covariate_r2=EXPLAINED,
        suspect=SUSPECT,
    )
