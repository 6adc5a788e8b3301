"""Who computes what when several processes train one model.

Under DDP every process holds the whole model, under FSDP2 each gathers a whole copy, so each of them runs a part of a
pass, with no collective inside it (`headwatch_callbacks.ranks`). All of them know the same summary of it: a
`ModelCheckpoint` that monitors one decides on every rank.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from headwatch_callbacks.ranks import Ranks

_SERVED = frozenset({"SingleDeviceStrategy", "DDPStrategy", "ModelParallelStrategy"})
# These are subclasses of the served ones, and split the model or run it on what is no torch device.
_NOT_SERVED = frozenset({"DeepSpeedStrategy", "XLAStrategy", "SingleDeviceXLAStrategy"})


def check_strategy(trainer: pl.Trainer, *, in_background: bool = False) -> None:
    """Refuse to train under a strategy that passes can't be run under.

    Args:
        trainer: the trainer, whose processes are there.
        in_background: whether passes are to run in another process.

    Raises:
        ValueError: FSDP1, DeepSpeed, tensor parallelism, XLA, or one that was never tried; FSDP2 in the background.
    """
    if not is_served(trainer):
        raise ValueError(
            f"headwatch can't probe a training under {_name(trainer)}: train on one device, with strategy='ddp', or"
            " with fully_shard (FSDP2) under ModelParallelStrategy(tensor_parallel_size=1); or train without probes,"
            " save full checkpoints, and probe these with trainer.validate or headwatch eval on one device"
        )

    if in_background and "ModelParallelStrategy" in _names(trainer):
        raise ValueError(
            f"background can't take effect under {_name(trainer)}, where no process has whole weights to copy: leave"
            " it out"
        )


def is_served(trainer: pl.Trainer) -> bool:
    """Whether passes can be run under a trainer's strategy."""
    names = _names(trainer)
    return bool(names & _SERVED) and not names & _NOT_SERVED and not _splits_products(trainer)


def _splits_products(trainer: pl.Trainer) -> bool:
    """Whether a matrix product is computed by several processes together."""
    strategy: Any = trainer.strategy
    return "ModelParallelStrategy" in _names(trainer) and strategy.device_mesh["tensor_parallel"].size() > 1


def _names(trainer: pl.Trainer) -> set[str]:
    """The strategy's class and those that it extends, by name: there is one each in both packages of Lightning."""
    return {cls.__name__ for cls in type(trainer.strategy).__mro__}


def _name(trainer: pl.Trainer) -> str:
    name = type(trainer.strategy).__name__
    return f"{name} with tensor parallelism" if _splits_products(trainer) else name


def can_evaluate(trainer: pl.Trainer) -> bool:
    """Whether a validation or a test can probe its checkpoint; warns where it can't, and is not held up.

    One device holds the whole model under any strategy.
    """
    if trainer.world_size == 1 or is_served(trainer):
        return True
    rank_zero_warn(
        f"headwatch can't probe a model under {_name(trainer)} on {trainer.world_size} devices, and"
        " this checkpoint is not probed: save it full, and validate it with Trainer(devices=1)"
    )
    return False


def ranks_of(trainer: pl.Trainer) -> Ranks:
    """The processes that train together; all of them must call this."""
    timeout = getattr(trainer.strategy, "_timeout", None)  # of one that knows processes
    return Ranks.of_training(timeout or default_pg_timeout)


def sum_over_ranks(trainer: pl.Trainer, value: Tensor) -> Tensor:
    """The sum of every rank's value, on every rank. All ranks must call this."""
    if trainer.world_size == 1:
        return value
    reduced = trainer.strategy.reduce(value.to(trainer.strategy.root_device), reduce_op="sum")
    assert isinstance(reduced, torch.Tensor)
    return reduced.to(value.device)
