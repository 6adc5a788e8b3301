"""What `ModelCheckpoint`, `EarlyStopping` and their like see of probes, as `headwatch/LABEL/NAME`.

What is monitored is there from the start: NaN until its probe has answered, and after a pass that failed.
`EarlyStopping` would end the training at a NaN, and take a value that it has seen before for one that did not improve.
So it finds a value only where one came since it looked last, and otherwise none, which with its own `strict=False`
means: not this time.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn


class Monitored:
    """The numbers of one training's probes that other callbacks of its Trainer look at."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._latest: dict[str, float] = {}
        self._fresh: set[str] = set()
        self._told: set[str] = set()
        self._stoppings: list[Any] = []
        self._strict: list[Any] = []
        self._helpers: list[pl.Callback] = []

    def watch(self, trainer: pl.Trainer, labels: Iterable[str], in_background: bool) -> None:
        """Put NaN where a callback of the Trainer monitors one of these series; before the first pass.

        Raises:
            ValueError: their probe is asked in the background, and nothing can be seen of it in time.
        """
        for callback in _monitoring(trainer, set(labels)):
            if in_background:
                raise ValueError(
                    f"{type(callback).__name__}(monitor={callback.monitor!r}) can't take effect: that probe is asked in"
                    " the background, and its answer comes after other steps; leave background= out"
                )
            self._latest.setdefault(callback.monitor, math.nan)
            if _is(callback, "EarlyStopping"):
                self._stoppings.append(callback)
                if callback.strict:
                    callback.strict = False
                    self._strict.append(callback)
        self._help_checkpoints(trainer)
        self.put_back(trainer)

    def store(self, trainer: pl.Trainer, label: str, summary: Mapping[str, float]) -> None:
        """Take what a pass of a series has found."""
        named = {f"headwatch/{label}/{name}": value for name, value in summary.items()}
        self.names |= set(named)
        for key in {callback.monitor for callback in _monitoring(trainer, {label})} - set(named) - self._told:
            self._told.add(key)
            rank_zero_warn(
                f"{key!r} is monitored and stays NaN: the probe {label} has only {', '.join(summary)}"
            )
        self._latest |= named
        self._fresh |= set(named)
        self.put_back(trainer)

    def lost(self, trainer: pl.Trainer, labels: Iterable[str]) -> None:
        """Take that a pass of these series has failed."""
        stems = tuple(f"headwatch/{label}/" for label in labels)
        gone = {key for key in self._latest if key.startswith(stems)}
        self._latest |= dict.fromkeys(gone, math.nan)
        self._fresh -= gone
        self.put_back(trainer)

    def before_check(self, trainer: pl.Trainer, after_epoch: bool) -> None:
        """Before `EarlyStopping` looks: take away what it has seen.

        Args:
            trainer: the trainer.
            after_epoch: whether those look that do so after an epoch, and not those that do so after a validation.
        """
        looking = [each for each in self._stoppings if bool(each._check_on_train_epoch_end) == after_epoch]
        keys = {each.monitor for each in looking}
        for key in keys - self._fresh:
            trainer.callback_metrics.pop(key, None)
            if key not in self._told:
                self._told.add(key)
                rank_zero_warn(
                    f"EarlyStopping(monitor={key!r}) finds no new value after {trainer.global_step} steps, and leaves"
                    " out this check and others like it: its probe was not asked since the last one, or failed; ask it"
                    " as often as is checked, such as by on_validation=True or every_n_epochs=1"
                )
        self._fresh -= keys

    def put_back(self, trainer: pl.Trainer) -> None:
        """Show the last value of everything, for all others."""
        device = trainer.strategy.root_device
        shown = {key: torch.tensor(value, device=device) for key, value in self._latest.items()}
        trainer.callback_metrics.update(shown)

    def end(self, trainer: pl.Trainer) -> None:
        """Leave the Trainer's callbacks as they were."""
        for callback in self._strict:
            callback.strict = True
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for helper in self._helpers:
            callbacks.remove(helper)
        self._stoppings, self._strict, self._helpers = [], [], []
        self._latest, self._fresh, self._told = {}, set(), set()

    def _help_checkpoints(self, trainer: pl.Trainer) -> None:
        """Where both monitor one value, give it back between `EarlyStopping`'s look after an epoch and theirs."""
        keys = {callback.monitor for callback in self._stoppings}
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        both = [
            each for each in callbacks if _is(each, "Checkpoint") and getattr(each, "monitor", "") in keys
        ]
        if both and not self._helpers:
            self._helpers = [_between(both[0], lambda: self.put_back(trainer))]
            first = next(place for place, each in enumerate(callbacks) if _is(each, "Checkpoint"))
            trainer.callbacks = [*callbacks[:first], *self._helpers, *callbacks[first:]]  # type: ignore[attr-defined]


def _monitoring(trainer: pl.Trainer, labels: set[str]) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    stems = {f"headwatch/{label}" for label in labels}
    named = [each for each in callbacks if isinstance(getattr(each, "monitor", None), str)]
    return [each for each in named if each.monitor.rpartition("/")[0] in stems]


def _is(callback: pl.Callback, kind: str) -> bool:
    # By name: the same classes exist in `lightning.pytorch` and in `pytorch_lightning`.
    return kind in {each.__name__ for each in type(callback).__mro__}


def _between(checkpoint: pl.Callback, act: Callable[[], None]) -> pl.Callback:
    """A callback that Lightning calls with those that write checkpoints, after `EarlyStopping`."""
    base = next(each for each in type(checkpoint).__mro__ if each.__name__ == "Checkpoint")
    made: pl.Callback = type("PutBack", (base,), {"on_train_epoch_end": lambda *_: act()})()
    return made
