"""The processes of one training, for what is none of the training's own business.

Their group is another one than the training's, on the CPU, so that no collective of the training's is ever pending
while a pass runs. Cost: a few tenths of a millisecond each time that they agree on something.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, final

import torch.distributed as dist

from headwatch_callbacks.ranks.heartbeat import Heartbeat, RankLostError

T = TypeVar("T")


class RankFailedError(RuntimeError):
    """What another process's work has raised; it says which one, and with what words."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one process's work.

    Attributes:
        value: what it has made; None where it raised an error.
        error: the error; another process's is a `RankFailedError`.
    """

    value: T | None
    error: Exception | None = None

    def result(self) -> T:
        """What it has made, or the error raised."""
        if self.error is not None:
            raise self.error
        value: Any = self.value
        return value


@final
class Ranks:
    """All processes of a training, or the one that it has. All of them must call each method, in one order.

    Example:
        >>> ranks = Ranks.alone()
        >>> ranks.size, ranks.is_first
        (1, True)
        >>> ranks.from_first(lambda: "what all of them should know")
        'what all of them should know'

    Args:
        group: a process group of theirs that nobody else uses; None for one process.
        timeout: seconds after which one that isn't heard from is given up.
    """

    def __init__(self, group: Any, timeout: float) -> None:
        self._group, self._timeout = group, timeout
        self._lost: RankLostError | None = None

    @classmethod
    def alone(cls) -> "Ranks":
        """A training's only process."""
        return cls(None, 0.0)

    @classmethod
    def of_training(cls, timeout: timedelta) -> "Ranks":
        """Those of the training that runs here; all of them must call this.

        Args:
            timeout: the training's own, of its process group.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return cls.alone()
        return cls(dist.new_group(backend="gloo", timeout=timeout), timeout.total_seconds())

    @property
    def size(self) -> int:
        """How many there are."""
        return 1 if self._group is None else dist.get_world_size(self._group)

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return 0 if self._group is None else dist.get_rank(self._group)

    @property
    def is_first(self) -> bool:
        """Whether this one writes the record."""
        return self.rank == 0

    def gather(self, work: Callable[[], T]) -> list[Outcome[T]]:
        """Have each do its work, however long it takes; the first one gets what came of all, the others nothing.

        Raises:
            RankLostError: one of them is gone.
        """
        mine = self._attempt(work)
        if self._group is None:
            return [mine]
        found: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(None if self.is_first else self._sent(mine), found, group=self._group, group_dst=0)
        return [mine, *found[1:]] if found is not None else []

    def from_first(self, work: Callable[[], T]) -> T:
        """Have the first one do something, however long it takes, and all of them know what came of it.

        Raises:
            RankLostError: one of them is gone.
            Exception: what it raised; the others raise a `RankFailedError`.
        """
        if self._group is None:
            return work()
        mine: Outcome[Any] = self._attempt(work if self.is_first else lambda: None)
        told = [self._sent(mine)]
        dist.broadcast_object_list(told, group=self._group, group_src=0)
        value: T = (mine if self.is_first else told[0]).result()
        return value

    def close(self) -> None:
        """Leave the group."""
        if self._group is not None and dist.is_initialized():
            dist.destroy_process_group(self._group)

    def _sent(self, outcome: Outcome[T]) -> Outcome[T]:
        """An outcome as others can read it, whatever its error is made of."""
        if outcome.error is None:
            return outcome
        error = outcome.error
        return Outcome(None, RankFailedError(f"rank {self.rank} found {type(error).__name__}: {error}"))

    def _attempt(self, work: Callable[[], T]) -> Outcome[T]:
        """What comes of some work, while the others do theirs."""
        if self._group is None:
            return _outcome(work)
        if self._lost is not None:
            raise self._lost
        try:
            with Heartbeat(self._group, self._timeout):
                outcome = _outcome(work)
        except BaseException as error:
            self._lost = (
                error if isinstance(error, RankLostError) else RankLostError("this one has left a pass")
            )
            raise
        return outcome


def _outcome(work: Callable[[], T]) -> Outcome[T]:
    try:
        return Outcome(work())
    except Exception as error:  # the others wait for this one, and shall know
        return Outcome(None, error)
