"""Where the wall time of a training goes: to training, and to what holds it up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class TrainingClock:
    """Tells training from passes; stands still before `start` and after `stop`."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._stopped: float | None = None
        self._held_up = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Begin at 0, also within `holding_up`."""
        self._started, self._stopped, self._held_up = time.perf_counter(), None, 0.0
        self._since = None if self._since is None else self._started

    def stop(self) -> None:
        """Stand still from now on; the first call counts."""
        self._stopped = self._stopped or time.perf_counter()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._started is not None and self._stopped is None

    @contextmanager
    def holding_up(self) -> Iterator[None]:
        """What is done inside holds the training up."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._held_up, self._since = self.held_up, None

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return 0.0 if self._started is None else (self._stopped or time.perf_counter()) - self._started

    @property
    def held_up(self) -> float:
        """Seconds that the training was held up for, up to now."""
        return self._held_up + (0.0 if self._since is None else time.perf_counter() - self._since)

    @property
    def trained(self) -> float:
        """Seconds of training."""
        return max(self.wall - self.held_up, 0.0)

    @property
    def overhead(self) -> float | None:
        """What holds the training up, as a share of the training time; None where there was no training yet."""
        return self.held_up / self.trained if self.trained > 0 else None
