"""Where results go beside the record: what the Trainer's `report_to` names, as far as it is known here.

A `TrainerCallback` is shown neither its Trainer nor the Trainer's other callbacks. Weights & Biases keeps its run where
everybody finds it; for TensorBoard a writer of our own adds a file to the folder that the Trainer's writer has made.
"""

import os
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.integrations.integration_utils import default_logdir

from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.tensorboard import TensorBoardTracker
from headwatch_callbacks.trackers.wandb import WandbRun, WandbTracker

KNOWN = ("wandb", "tensorboard")


def check_alerts(args: TrainingArguments, settings: Trackers) -> None:
    """Refuse alerts that nobody would send.

    Raises:
        ValueError: the Trainer doesn't report to wandb.
    """
    if settings.alerts and "wandb" not in (args.report_to or []):
        raise ValueError("Trackers(alerts=True) has no effect: only wandb sends alerts; add it to report_to")


def trackers_of(args: TrainingArguments, settings: Trackers, record: Path) -> list[GuardedTracker]:
    """A guarded tracker for each that the Trainer reports to; warns of those that are sent nothing."""
    wanted = list(args.report_to or [])
    unknown = [name for name in wanted if name not in KNOWN]
    if unknown:
        warnings.warn(
            f"headwatch sends nothing to {', '.join(unknown)}: under transformers.Trainer it knows report_to="
            f"{' and '.join(KNOWN)}; the record in {record} keeps every result",
            stacklevel=2,
        )
    trackers = []
    if "wandb" in wanted:
        tracker = WandbTracker(WandbRun(), settings, "train/global_step")
        trackers.append(GuardedTracker(tracker, "wandb"))
    if "tensorboard" in wanted:
        trackers.append(GuardedTracker(TensorBoardTracker(TensorBoardRun(args), settings), "tensorboard"))
    return trackers


class TensorBoardRun:
    """A writer beside the Trainer's own one, in the place of a TensorBoardLogger."""

    def __init__(self, args: TrainingArguments) -> None:
        self._folder = _tensorboard_folder(args)

    @cached_property
    def experiment(self) -> Any:
        """The `SummaryWriter`, made when something is written."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._folder))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers at their step."""
        for name, value in values.items():
            self.experiment.add_scalar(name, value, step)


def _tensorboard_folder(args: TrainingArguments) -> Path:
    """The folder into which this process has begun to write events last, or the one in which the Trainer would."""
    named = os.environ.get("TENSORBOARD_LOGGING_DIR")
    root = Path(named).expanduser() if named else Path(str(args.output_dir)) / "runs"
    events = sorted(
        root.rglob(f"events.out.tfevents.*.{os.getpid()}.*"), key=lambda file: file.stat().st_mtime_ns
    )
    if events:
        return events[-1].parent
    return root if named else Path(str(args.output_dir)) / default_logdir()
