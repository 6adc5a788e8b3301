"""Who computes what when several processes train one model.

Under DDP every process holds the whole model. A probe pass runs on rank 0 alone, on the bare module, so that
it needs no collective and its result is the one of a single process, bit for bit. The others wait for its summary
(all of them need the same numbers: a `ModelCheckpoint` that monitors one decides on every rank).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

T = TypeVar("T")

_SERVED = frozenset({"SingleDeviceStrategy", "DDPStrategy"})
# These are subclasses of the served ones, and split the model or run it on what is no torch device.
_NOT_SERVED = frozenset({"DeepSpeedStrategy", "XLAStrategy", "SingleDeviceXLAStrategy"})


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse to train under a strategy that passes can't be run under.

    Raises:
        ValueError: one that splits the model over processes (FSDP, model parallel, DeepSpeed), XLA, or one that was
            never tried.
    """
    if not is_served(trainer):
        raise ValueError(
            f"headwatch can't probe a training under {type(trainer.strategy).__name__}: train on one device or with"
            " strategy='ddp', or train without probes, save full checkpoints, and probe these with trainer.validate"
            " or headwatch eval on one device"
        )


def is_served(trainer: pl.Trainer) -> bool:
    """Whether passes can be run under a trainer's strategy."""
    # By name: the same classes exist in `lightning.pytorch` and in `pytorch_lightning`.
    names = {cls.__name__ for cls in type(trainer.strategy).__mro__}
    return bool(names & _SERVED) and not names & _NOT_SERVED


def can_evaluate(trainer: pl.Trainer) -> bool:
    """Whether a validation or a test can probe its checkpoint; warns where it can't, and is not held up.

    One device holds the whole model under any strategy.
    """
    if trainer.world_size == 1 or is_served(trainer):
        return True
    rank_zero_warn(
        f"headwatch can't probe a model under {type(trainer.strategy).__name__} on {trainer.world_size} devices, and"
        " this checkpoint is not probed: save it full, and validate it with Trainer(devices=1)"
    )
    return False


def from_rank_zero(trainer: pl.Trainer, compute: Callable[[], T]) -> T:
    """Compute a small picklable value on rank 0 and give it to every rank. `compute` must not raise."""
    value: Any = compute() if trainer.is_global_zero else None
    shared: T = value if trainer.world_size == 1 else trainer.strategy.broadcast(value)
    return shared


def sum_over_ranks(trainer: pl.Trainer, value: Tensor) -> Tensor:
    """The sum of every rank's value, on every rank. All ranks must call this."""
    if trainer.world_size == 1:
        return value
    reduced = trainer.strategy.reduce(value.to(trainer.strategy.root_device), reduce_op="sum")
    assert isinstance(reduced, torch.Tensor)
    return reduced.to(value.device)
