"""The arguments that probes under Lightning have in common, for those who hand them on."""

from pathlib import Path
from typing import TypedDict


class TrainingOptions(TypedDict, total=False):
    """The arguments that every probe takes; `ProbeCallback` says what they mean."""

    every_n_train_steps: int | None
    every_n_epochs: int | None
    on_validation: bool
    log_spaced: int | None
    at_end: bool
    model: str | None
    record: str | Path | None
    name: str | None


class ProbeOptions(TrainingOptions, total=False):
    """The arguments of a probe that can look at an untrained model too."""

    before_first: bool
    background: bool | str
    max_overhead: float | None
