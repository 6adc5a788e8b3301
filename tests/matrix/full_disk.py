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
            return MLFlowLogger(
                tracking_uri=f"sqlite:///{disk}/mlflow.db", artifact_location=str(disk / "artifacts")
            )
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


def _nothing(*_: Any) -> None:
    pass


def train(disk: Path, tracker: str, probed: bool) -> tuple[Trace, list[str]]:
    """Train, with probes that write to a disk that fills up, or without; the trace, and headwatch's warnings."""
    seed()
    training, trace = Training(validated=False), new_trace()
    callbacks = [*probes(training, disk), Fills(disk)] if probed else []
    logger = logger_of(tracker, disk)
    if logger:
        logger.finalize = _nothing  # Lightning's own last line would fail by itself
    module = module_of(training)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # Nor are lines of Lightning's own logged, which would fail too.
        more = {"logger": logger, "log_every_n_steps": 1000}
        trainer = trainer_of(training, [Traced(trace), *callbacks], disk, 8, **more)
        trainer.fit(module, data())
    note_end(trace, module, module.losses, trainer.optimizers)
    return trace, [str(each.message) for each in told if "headwatch" in str(each.message)]
