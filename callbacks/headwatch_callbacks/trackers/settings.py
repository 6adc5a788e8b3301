"""What trackers are sent beyond one map a pass, as a callback, so that a LightningCLI file can hold it."""

import lightning.pytorch as pl


class Trackers(pl.Callback):
    """Sets what the probes of a Trainer send to its loggers.

    Example:
        >>> callbacks = [HeadAblation("pairs.jsonl", tokenizer="gpt2", every_n_epochs=1), Trackers(per_head=True)]

    Args:
        per_head: one series a head and probe (144 for GPT-2 small). None = only where a tracker takes no pictures.
        mosaic_every: draw every n-th set of attention maps; the last one is always drawn.
        pictures_at_full_rate: so many pictures a probe are drawn at every pass, as many again at every second pass,
            and so on: hosted trackers slow down beyond 1,000 files a run. The last pass is always drawn.
        alerts: Weights & Biases sends an alert for each pass in which a head changed since the one before by more than
            noise. One in 20 passes would alert by chance if nothing changed; each alert says how many marks that makes.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        per_head: bool | None = None,
        mosaic_every: int = 5,
        pictures_at_full_rate: int = 100,
        alerts: bool = False,
    ) -> None:
        for name, value in (("mosaic_every", mosaic_every), ("pictures_at_full_rate", pictures_at_full_rate)):
            if value < 1:
                raise ValueError(f"{name}={value}: it must be at least 1")
        self.per_head = per_head
        self.mosaic_every = mosaic_every
        self.pictures_at_full_rate = pictures_at_full_rate
        self.alerts = alerts

    def __repr__(self) -> str:
        return f"Trackers({', '.join(f'{name}={value}' for name, value in vars(self).items())})"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a Trainer in which these settings could not take effect.

        Raises:
            ValueError: the Trainer has no logger, or alerts are wanted and none of them is a WandbLogger.
        """
        if not trainer.loggers:
            raise ValueError(
                "Trackers(...) has no effect: this Trainer has no logger; give it one or leave it out"
            )
        kinds = {kind.__name__ for logger in trainer.loggers for kind in type(logger).__mro__}
        if self.alerts and not kinds & {"WandbLogger", "DummyLogger"}:
            raise ValueError(
                "Trackers(alerts=True) has no effect: only a WandbLogger sends alerts, and this Trainer has none"
            )


def settings_of(trainer: pl.Trainer) -> Trackers:
    """The `Trackers` among a Trainer's callbacks, or the defaults.

    Raises:
        ValueError: two `Trackers` in one Trainer.
    """
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    found = [callback for callback in callbacks if isinstance(callback, Trackers)]
    if len(found) > 1:
        raise ValueError(f"one Trainer takes one Trackers(...) callback, got {len(found)}")
    return found[0] if found else Trackers()
