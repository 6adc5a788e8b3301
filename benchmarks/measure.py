"""Measures one job: all tools in turn, again and again, so that what else the machine does hits all alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.jobs import Job
from benchmarks.processes import Setting, Worker
from benchmarks.tools.registry import BOUNDS, HEADWATCH

WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """One tool on one job.

    Attributes:
        job: the job's name.
        tool: the tool's name.
        seconds: for the whole job, the median over repeats; scaled up where only a share was run.
        share: the share of the job's interventions that was run.
        error: the largest difference from the float64 reference on the sample, over the job's largest effect (over
            the sample's where headwatch, which runs all, is not measured); None for bounds.
        above_model: bytes held at most, above the model; None where it was not measured.
    """

    job: str
    tool: str
    seconds: float
    share: float
    error: float | None
    above_model: int | None


def measure(
    job: Job, workers: Mapping[str, Worker], truth: Worker, sample: int, repeats: int
) -> list[Measured]:
    """Every tool on a job, in the order of `workers`."""
    for worker in workers.values():
        worker.ask(job.name, WARM_UP)
    answers: dict[str, list[dict[str, Any]]] = {tool: [] for tool in workers}
    for _ in range(repeats):
        for tool, worker in workers.items():
            answers[tool].append(worker.ask(job.name, sample))
    true = np.asarray(truth.ask(job.name, sample)["effects"])
    known = [some[0]["largest"] for some in answers.values() if some[0]["largest"] is not None]
    largest = max([np.abs(true).max(), *known])
    return [_summary(job, tool, some, true, largest) for tool, some in answers.items()]


def _summary(
    job: Job, tool: str, answers: Sequence[dict[str, Any]], true: np.ndarray, largest: float
) -> Measured:
    seconds = median(one["plain_seconds"] + one["sweep_seconds"] / one["share"] for one in answers)
    error = None
    if tool not in BOUNDS:
        error = float(np.abs(np.asarray(answers[0]["effects"]) - true).max() / largest)
    return Measured(job.name, tool, seconds, answers[0]["share"], error, None)


def memory(job: Job, setting: Setting) -> int:
    """Bytes that headwatch holds at most above the model, running the job once in a fresh process."""
    with Worker(HEADWATCH, setting) as worker:
        return int(worker.ask(job.name, WARM_UP)["above_model"])
