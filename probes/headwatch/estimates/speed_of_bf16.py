"""How much faster a sweep is in bfloat16 than in float32 on this machine: measured at the first pass of a process."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from headwatch.estimates.head_sweep import HeadSweep, Rows

_SOME_PAIRS = 2
_measured: dict[Any, float] = {}


def speed_of_bf16(question: HeadSweep) -> float:
    """The ratio of speeds on some of the question's pairs; remembered for models and prompts of these sizes."""
    network = question.run.hooked.architecture
    key = network.device, network.sizes, question.run.kind, round(question.length)
    if key not in _measured:
        rows = np.arange(min(_SOME_PAIRS, question.n_pairs))
        _measured[key] = _seconds(question.exact, rows) / _seconds(question.in_bf16, rows)
    return _measured[key]


def _seconds(sweep: Callable[[Rows], object], rows: Rows) -> float:
    """How long a sweep takes, once what is done only the first time is done."""
    sweep(rows[:1])
    started = time.perf_counter()
    sweep(rows)
    return time.perf_counter() - started
