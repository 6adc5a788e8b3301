"""Whether a model's weights are those that the last step has left, or others that a callback has put in their place.

Averages of weights (EMA, SWA) come into the model for a validation or at the end of `fit`, a best checkpoint too. What
is measured then says nothing about the step's own weights, at whose x it stands. To know them costs one reading of all
weights: 40 ms for the 124 million of GPT-2 small on a core, next to a pass that runs the model many times.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from torch import nn

from headwatch_callbacks.checkpoints.fingerprint import fingerprint

REPLACED = "replaced_weights"


class StepWeights:
    """Remembers the weights that the last step has left, and those that were probed last.

    `Tensor._version` would be quicker, and doesn't see what is written through `.data`, as Lightning's averages are.

    Args:
        of_interest: whether what is asked depends on the weights; otherwise they are never read.
    """

    def __init__(self, of_interest: bool = True) -> None:
        self._of_interest = of_interest
        self._step = -1
        self._own = self._now = self._probed = _NOTHING

    def look(self, global_step: int, model: nn.Module) -> bool:
        """Read the weights; whether they are those that were there first after so many steps."""
        if not self._of_interest:
            return True
        self._now = fingerprint(model)
        if global_step != self._step:
            self._step, self._own = global_step, self._now
        return self._now == self._own

    def probed(self) -> None:
        """Note that those which were read last are probed."""
        self._probed = self._now

    def changed_since(self, model: nn.Module) -> bool:
        """Whether the weights are others than those that were probed; False where none was."""
        return self._probed != _NOTHING and self._probed != fingerprint(model)


_NOTHING: tuple[int, ...] = ()


def validation_may_follow(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether this batch may be followed by a validation, into which a callback may bring other weights."""
    every = trainer.val_check_batch
    if not isinstance(every, int) or every < 1 or trainer.check_val_every_n_epoch is None:
        return True
    return trainer.is_last_batch or (batch_idx + 1) % every == 0


@contextmanager
def on_device(pl_module: pl.LightningModule, device: torch.device) -> Iterator[None]:
    """A module on the device that it was trained on, and back where it is afterwards."""
    before = pl_module.device
    pl_module.to(device)
    try:
        yield
    finally:
        pl_module.to(before)
