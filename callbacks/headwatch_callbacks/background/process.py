"""A worker process, as the training sees it: started, given snapshots and questions, listened to, ended."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import final

import torch
from torch import nn

from headwatch_callbacks.background.messages import Answer, Precision, Request
from headwatch_callbacks.background.shared_memory import SharedMemory
from headwatch_callbacks.background.snapshot import (
    Packed,
    Stored,
    from_bytes,
    pack,
    same,
    store,
    to_bytes,
)
from headwatch_callbacks.questions.question import Moment, Question

SPARE = 2**28  # bytes for questions and for a model that grows; what isn't written to takes no memory
PATIENCE = 5.0  # seconds for a worker that was told to stop


class WorkerDied(Exception):  # noqa: N818 - it has died, which is more than an error
    """The worker process is no more."""


@dataclass(frozen=True)
class Pass:
    """A pass that is under way.

    Attributes:
        question: what was asked.
        at: when its weights were so.
        failed: told what it failed with.
    """

    question: Question
    at: Moment
    failed: Callable[[str], None]


def spare_threads() -> int:
    """How many cores this process's own threads leave, and at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - torch.get_num_threads())


@final
class Worker:
    """One worker process. It holds one snapshot, and answers several questions about it in turn.

    Args:
        device: where passes run.
        model: the model, for its size.

    Raises:
        Exception: whatever pickling the model raises.
        OSError: no memory, or no more processes.
    """

    def __init__(self, device: torch.device, model: nn.Module) -> None:
        size = pack(model).nbytes
        self._memory = SharedMemory(2 * size + SPARE)
        self._memory.reserve(size)
        self._connection, theirs = Pipe()
        with theirs:
            handles = (theirs.fileno(), self._memory.handle)
            self._process = subprocess.Popen(
                _command(*handles, self._memory.size, device),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints there goes where errors go
                pass_fds=handles,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._under_way: deque[Pass] = deque()
        self._held: tuple[bytes, Stored] = (b"", Stored(0, 0))
        self._end = 0

    @property
    def under_way(self) -> Sequence[Pass]:
        """The passes that are not answered yet, in their order."""
        return tuple(self._under_way)

    def ask(self, asked: Pass, model: nn.Module, precision: Precision) -> bool:
        """Copy the weights, unless it holds just these, and have it begin.

        Returns:
            Whether it takes the question: not while it is busy with other weights.

        Raises:
            Exception: whatever pickling the question or the model raises.
            ValueError: the model has grown beyond the memory.
            WorkerDied: it has died.
        """
        if self._under_way and self._under_way[-1].at.step != asked.at.step:
            return False
        question, network = pack(asked.question), pack(model)  # before what it may hold is written over
        if self._under_way and not self._holds(network):
            return False
        stored = None if self._under_way else store(network, self._memory.bytes)
        if stored is not None:
            self._held, self._end = (network.pickled, stored), stored.stop
        where = store(question, self._memory.bytes, self._end)
        self._end = where.stop
        self._send(to_bytes(Request(where, stored, asked.at, precision)))
        self._under_way.append(asked)
        return True

    def _holds(self, network: Packed) -> bool:
        pickled, stored = self._held
        return network.pickled == pickled and same(network, self._memory.bytes, stored)

    def has_answer(self) -> bool:
        """Whether `poll` would find an answer, or that it has died."""
        return bool(self._under_way) and self._connection.poll(0)

    def poll(self, wait: bool = False) -> tuple[Pass, Answer] | None:
        """The next answer, or None where there is none yet.

        Args:
            wait: wait for it, where something is under way.

        Raises:
            WorkerDied: it has died and will not answer.
        """
        if not self._under_way:
            return None
        try:
            if not self._connection.poll(None if wait else 0):
                return None
            answer = from_bytes(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._died() from error
        return self._under_way.popleft(), answer

    def close(self, at_once: bool = False) -> None:
        """End the process: after what is under way, or at once."""
        try:
            self._connection.send_bytes(to_bytes(None))
            self._process.wait(0 if at_once else PATIENCE)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._connection.close()
        self._memory.close()

    def _send(self, message: bytes) -> None:
        try:
            self._connection.send_bytes(message)
        except OSError as error:
            raise self._died() from error

    def _died(self) -> WorkerDied:
        self._process.kill()
        return WorkerDied(
            f"the process that runs passes in the background died ({_ending(self._process.wait())})"
        )


def _command(connection: int, memory: int, size: int, device: torch.device) -> list[str]:
    options = {
        "connection": connection,
        "memory": memory,
        "size": size,
        "threads": spare_threads(),
        "device": device,
    }
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "headwatch_callbacks.background.worker", *given]


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
