"""At which x a result stands under Lightning.

Lightning writes the loss of the k-th optimizer step at x = k − 1. A probe that runs after that step is written at
the same x, so that the two can be read off one vertical line. A model that no step was taken of stands at x = −1.
"""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from headwatch.record.steps import BEFORE_TRAINING
from headwatch_callbacks.checkpoints.load import saved_step
from headwatch_callbacks.ranks import Ranks


def loss_step(trainer: pl.Trainer, batch_over: bool) -> int:
    """The x at which Lightning writes the loss of the step that was taken last; −1 before the first one.

    Args:
        trainer: the trainer, in `fit`.
        batch_over: whether the loop has already counted that step: True in `on_train_epoch_end` and `on_train_end`;
            False in `on_train_batch_end` and in a validation that follows it, unless that batch took no step.
    """
    return max(trainer.fit_loop.epoch_loop._batches_that_stepped - batch_over, BEFORE_TRAINING)


def checkpoint_step(checkpoint: Mapping[str, Any]) -> int:
    """The x of the loss of the last step before a Lightning checkpoint was written; −1 where none was taken."""
    steps = int(checkpoint["global_step"])
    loop = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.state_dict", {})
    counted = loop.get("_batches_that_stepped", steps)
    # Saved between two batches, the last one is already counted. With several optimizers a batch is several steps.
    return max(steps - 1, BEFORE_TRAINING) if counted == steps else int(counted)


def evaluated_step(trainer: pl.Trainer, loaded: int | None, ranks: Ranks) -> int:
    """The x of the one pass of `trainer.validate` or `trainer.test`; on every rank.

    Args:
        trainer: the trainer.
        loaded: what `checkpoint_step` said of the checkpoint that Lightning showed; None where it showed none.
        ranks: the processes that evaluate.
    """
    if loaded is not None:
        return loaded
    if trainer.ckpt_path is not None:
        # Lightning shows callbacks no checkpoint that was saved without their states.
        saved = ranks.from_first(lambda: saved_step(str(trainer.ckpt_path)))
        return max((saved or 0) - 1, BEFORE_TRAINING)
    # Nothing says what became of weights that this trainer took no step of: they may be of any training.
    return loss_step(trainer, batch_over=True) if trainer.global_step else 0
