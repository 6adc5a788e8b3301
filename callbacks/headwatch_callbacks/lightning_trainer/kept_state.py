"""What a probe keeps in Lightning's checkpoints, and what it takes from them."""

from abc import ABC
from typing import Any

import lightning.pytorch as pl

from headwatch_callbacks.lightning_trainer.steps import checkpoint_step
from headwatch_callbacks.trackers.training_recorder import RunIdentity


class KeptState(pl.Callback, ABC):
    """How far a probe got, and in the record of which run.

    Attributes:
        label: what tells this probe from all others of a run.
        training_run: which run its record is of, as a checkpoint keeps it; None before one is known.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.training_run: RunIdentity | None = None
        self._probed_after: int | None = None
        self._checkpoint_step: int | None = None
        self._told_apart = False

    @property
    def state_key(self) -> str:
        """What tells this callback's state in a checkpoint from another's.

        Lightning compares them when a Trainer is made, and refuses two alike in words of its own: until `setup` has
        compared labels, each probe has another.
        """
        if self._told_apart:
            return self._generate_state_key(label=self.label)
        return self._generate_state_key(label=self.label, object=id(self))

    def state_dict(self) -> dict[str, Any]:
        """How far this probe got, in optimizer steps, and in the record of which run."""
        of_run = {} if self.training_run is None else self.training_run.state()
        return {"probed_after": self._probed_after} | of_run

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there: what was probed before the checkpoint is not probed again."""
        self._probed_after = state_dict["probed_after"]
        self.training_run = RunIdentity.in_state(state_dict)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the step at which an evaluated checkpoint stands."""
        self._checkpoint_step = checkpoint_step(checkpoint)
