"""How processes wait for each other as long as it takes, and yet not for one that is gone.

While each of them works, a thread of its own meets the others' about once a second. No such meeting lasts longer than
that, so none runs into a timeout, however long the work takes; unless a process has died or stands still, which its
thread then does as well.
"""

import threading
from types import TracebackType
from typing import Any, final

import torch
import torch.distributed as dist

_LEFT, _WORKS, _DONE = -1, 0, 1
_OFTEN = 4  # meetings within a timeout, at least
_LONGEST = 1.0  # seconds between two meetings


class RankLostError(RuntimeError):
    """A process of the training is gone, or stands still, or has given up."""


@final
class Heartbeat:
    """Leaving this context, all processes have done their work in it, however long that took.

    Args:
        group: a process group that nothing else uses meanwhile.
        timeout: seconds after which a process that isn't heard from is given up.

    Raises:
        RankLostError: one of the others is gone, or has left the context with an error.
    """

    def __init__(self, group: Any, timeout: float) -> None:
        self._group, self._timeout = group, timeout
        self._state, self._changed = _WORKS, threading.Event()
        self._least, self._errors = _WORKS, list[RuntimeError]()
        self._thread = threading.Thread(target=self._meet, name="headwatch heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = _DONE if error is None else _LEFT
        self._changed.set()
        self._thread.join()
        if error is None and self._errors:
            raise RankLostError(
                f"a process of this training is gone, or was not heard from for {self._timeout:.0f} s"
            ) from self._errors[0]
        if error is None and self._least == _LEFT:
            raise RankLostError("another process of this training has left a pass: what it says tells why")

    def _meet(self) -> None:
        try:
            while self._least == _WORKS:
                self._changed.wait(min(self._timeout / _OFTEN, _LONGEST))
                state = torch.tensor(self._state)
                dist.all_reduce(state, dist.ReduceOp.MIN, group=self._group)
                self._least = int(state)
        except RuntimeError as error:
            self._errors.append(error)
