"""Who computes what when several processes train one model.

Under DDP every process holds the whole model. A probe pass runs on rank 0 alone, on the bare module, so that
it needs no collective and its result is the one of a single process, bit for bit. The others wait for its summary
(all of them need the same numbers: a `ModelCheckpoint` that monitors one decides on every rank).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

T = TypeVar("T")

_WHOLE_MODEL_PER_RANK = frozenset({"SingleDeviceStrategy", "DDPStrategy"})


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse a strategy under which no process holds the whole model.

    Raises:
        ValueError: a sharded strategy (FSDP, model parallel, DeepSpeed) or one that was never tried.
    """
    # By name: the same classes exist in `lightning.pytorch` and in `pytorch_lightning`.
    names = {cls.__name__ for cls in type(trainer.strategy).__mro__}
    if not names & _WHOLE_MODEL_PER_RANK:
        raise ValueError(
            f"headwatch can't probe under {type(trainer.strategy).__name__}, which may split the model over"
            " processes: train with one device or strategy='ddp', or probe the checkpoints with trainer.validate"
        )


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
