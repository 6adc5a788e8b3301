"""A training whose disk fills up after its first steps: what it was, and what it said."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from headwatch_callbacks.trackers.trackio import TrackioLogger
from tests.matrix.lightning_training import Traced, probes, trainer_of
from tests.matrix.trace import Trace, new_trace, note_end
from tests.matrix.training import Training, data, module_of, seed

TRACKERS = ("none", "csv", "tensorboard", "wandb", "mlflow", "trackio")


def logger_of(name: str, disk: Path) -> Any:
    """A logger that writes to a disk."""
    match name:
        case "csv":
            return CSVLogger(disk)
        case "tensorboard":
            return TensorBoardLogger(disk)
        case "wandb":
            return WandbLogger(save_dir=disk, offline=True)
        case "mlflow":
            return MLFlowLogger(tracking_uri=f"sqlite:///{disk}/mlflow.db", artifact_location=str(disk / "artifacts"))
        case "trackio":
            return TrackioLogger("project", "run", auto_log_cpu=False, auto_log_gpu=False)
    return False


class Fills(pl.Callback):
    """Fills the disk to its last byte before the third batch."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            with suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(512)):
                    pass


def train(disk: Path | None, tracker: str = "none") -> tuple[Trace, list[str]]:
    """Train, with the probes writing to a disk that fills up, or without any; the trace, and headwatch's warnings."""
    seed()
    training, trace = Training(validated=False), new_trace()
    callbacks = [] if disk is None else [*probes(training, disk), Fills(disk)]
    logger = False if disk is None else logger_of(tracker, disk)
    module = module_of(training)
    seed()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # Lightning's own lines would fail by themselves, which is not headwatch's to prevent.
        trainer = trainer_of(training, [Traced(trace), *callbacks], disk or Path(), 8, logger=logger, log_every_n_steps=1000)
        trainer.fit(module, data())
    note_end(trace, module, module.losses, trainer.optimizers)
    return trace, [str(each.message) for each in told if "headwatch" in str(each.message)]
