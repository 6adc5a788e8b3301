"""Who computes what when several processes train one model.

Under DDP every process holds the whole model, so each of them runs a part of a pass, with no collective inside it
(`headwatch_callbacks.ranks`). All of them know the same summary of it: a `ModelCheckpoint` that monitors one decides on
every rank.
"""

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from headwatch_callbacks.ranks import Ranks

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
