"""How much faster a sweep is in bfloat16 than in float32 on this machine: measured at the first pass of a process."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from headwatch.estimates.head_sweep import HeadSweep

_LEAST_WIDTH = 512  # of the residual stream: a narrower model's time is hardly that of its arithmetic
_SOME_PAIRS = 2
_REPEATS = 3
_measured: dict[Any, float] = {}


def speed_of_bf16(question: HeadSweep) -> float:
    """The ratio of speeds on the lowest layer's heads and some pairs; 1 for a model that is too small to tell.

    Remembered for models and prompts of these sizes.
    """
    network = question.run.hooked.architecture
    if network.sizes.d_model < _LEAST_WIDTH:
        return 1.0
    key = network.device, network.sizes, question.run.kind, round(question.length)
    if key not in _measured:
        rows = np.arange(min(_SOME_PAIRS, question.n_pairs))
        cells = np.arange(np.prod(question.shape)) < question.shape[1]
        _measured[key] = times_as_long(
            partial(question.exact, rows, cells), partial(question.in_bf16, rows, cells)
        )
    return _measured[key]


def times_as_long(
    one: Callable[[], object], other: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """How many times as long one thing takes as another.

    They take turns, so that a busy machine slows down both; the shortest of some repeats counts for each, and a first
    one for neither.
    """
    seconds = [(_seconds(one, clock), _seconds(other, clock)) for _ in range(1 + _REPEATS)][1:]
    of_one, of_other = (min(repeats) for repeats in zip(*seconds, strict=True))
    return of_one / of_other


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started
