"""When a probe runs during a training."""

from dataclasses import dataclass

from headwatch.interventions.arguments import as_whole, shown, switch


@dataclass(frozen=True)
class Schedule:
    """When a probe runs during `trainer.fit`. At most one of the first four is given.

    Args:
        every_n_train_steps: after every n-th optimizer step.
        every_n_epochs: at the end of every n-th epoch.
        on_validation: with every validation of the run.
        log_spaced: so many times, at steps evenly spaced on a logarithmic axis from the first step to the last.
        before_first: before the first step.
        at_end: at the end, unless the last step was probed anyway.

    Raises:
        ValueError: options that contradict each other, that can't take effect, or that are no whole numbers.
    """

    every_n_train_steps: int | None = None
    every_n_epochs: int | None = None
    on_validation: bool = False
    log_spaced: int | None = None
    before_first: bool = True
    at_end: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _every(name, value, least))
        for name in ("on_validation", "before_first", "at_end"):
            object.__setattr__(self, name, switch(name, getattr(self, name)))
        chosen = [name for name in _RHYTHMS if getattr(self, name) not in (None, False)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} contradict each other: give one of them")

    @property
    def chosen(self) -> list[str]:
        """What was chosen otherwise than by default, such as `every_n_epochs=1`."""
        return [f"{name}={value}" for name, value in vars(self).items() if value != getattr(Schedule, name)]

    def check(self, has_validation: bool) -> None:
        """Whether this schedule can take effect in a training.

        Args:
            has_validation: whether the training validates.

        Raises:
            ValueError: it would never run, or waits for a validation that the run doesn't have.
        """
        rhythm = any(getattr(self, name) not in (None, False) for name in _RHYTHMS)
        if not (rhythm or self.before_first or self.at_end):
            raise ValueError(f"this probe would never run in fit: give one of {', '.join(_RHYTHMS)}")
        if self.on_validation and not has_validation:
            raise ValueError("on_validation=True can't take effect: this run has no validation")

    def log_spaced_steps(self, last: float) -> tuple[int, ...]:
        """The optimizer steps after which a log-spaced schedule probes; none for any other schedule.

        Args:
            last: how many steps the run takes, as far as its trainer knows.

        Raises:
            ValueError: it doesn't know.
        """
        if self.log_spaced is None:
            return ()
        if last == float("inf"):
            raise ValueError(
                f"log_spaced={self.log_spaced} needs a run of known length: give the Trainer max_steps, or"
                " max_epochs and data whose length is known"
            )
        return log_spaced_steps(self.log_spaced, 1, int(last))

    def due_after_step(self, before: int, step: int, log_spaced: tuple[int, ...] = ()) -> bool:
        """Whether to probe after an optimizer step.

        Args:
            before: how many steps had been taken when this was last asked.
            step: how many have been taken now.
            log_spaced: what `log_spaced_steps` returned.
        """
        if self.every_n_train_steps is not None:
            return step // self.every_n_train_steps > before // self.every_n_train_steps
        return any(before < wanted <= step for wanted in log_spaced)

    def due_after_epoch(self, epochs: int) -> bool:
        """Whether to probe once so many epochs are done."""
        return self.every_n_epochs is not None and epochs % self.every_n_epochs == 0


_LEAST = {"every_n_train_steps": 1, "every_n_epochs": 1, "log_spaced": 2}
_RHYTHMS = ("every_n_train_steps", "every_n_epochs", "on_validation", "log_spaced")


def _every(name: str, value: object, least: int) -> int:
    number = as_whole(value)
    if number is None:
        raise ValueError(f"{name}={shown(value)} can't take effect: give a whole number, or leave it out")
    if number < least:
        raise ValueError(f"{name}={number} can't take effect: give {least} or more, or leave it out")
    return number


def log_spaced_steps(n: int, first: int, last: int) -> tuple[int, ...]:
    """At most n steps from first to last, evenly spaced in their logarithm; those that round to the same are one."""
    if last <= first:
        return (first,)
    ratio = last / first
    return tuple(sorted({round(first * ratio ** (i / (n - 1))) for i in range(n)}))
