"""What trackers are sent beyond one map a pass, as a callback, so that a LightningCLI file can hold it."""

from dataclasses import dataclass

import lightning.pytorch as pl


@dataclass(frozen=True)
class TrackerOptions:
    """What trackers are sent beyond one map a pass.

    Attributes:
        per_head: one series a head and probe (144 for GPT-2 small). None = only where a tracker takes no pictures.
        mosaic_every: draw every n-th set of attention maps; the last one is always drawn.
        pictures_at_full_rate: so many pictures a probe are drawn at every pass, as many again at every second pass,
            and so on: hosted trackers slow down beyond 1,000 files a run. The last pass is always drawn.

    Raises:
        ValueError: a number below 1.
    """

    per_head: bool | None = None
    mosaic_every: int = 5
    pictures_at_full_rate: int = 100

    def __post_init__(self) -> None:
        for name in ("mosaic_every", "pictures_at_full_rate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")


class Trackers(pl.Callback):
    """Sets what the probes of a Trainer send to its loggers, as in `Trackers(per_head=True)` among the callbacks.

    Args:
        per_head: see `TrackerOptions`.
        mosaic_every: see `TrackerOptions`.
        pictures_at_full_rate: see `TrackerOptions`.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self, per_head: bool | None = None, mosaic_every: int = 5, pictures_at_full_rate: int = 100
    ) -> None:
        self.options = TrackerOptions(per_head, mosaic_every, pictures_at_full_rate)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a Trainer in which these options could not take effect.

        Raises:
            ValueError: the Trainer has no logger.
        """
        if not trainer.loggers:
            raise ValueError(
                "Trackers(...) has no effect: this Trainer has no logger; give it one or leave it out"
            )


def options_of(trainer: pl.Trainer) -> TrackerOptions:
    """The options that a Trainer's `Trackers` callback holds, or the defaults.

    Raises:
        ValueError: two `Trackers` in one Trainer.
    """
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    found = [callback.options for callback in callbacks if isinstance(callback, Trackers)]
    if len(found) > 1:
        raise ValueError(f"one Trainer takes one Trackers(...) callback, got {len(found)}")
    return found[0] if found else TrackerOptions()
