"""The worker process: reads requests, asks each question of the snapshot, sends each answer, until it is told to stop.

It is started by `headwatch_callbacks.background.process` as a program of its own, so that nothing of the user's script
runs in it. It has few threads and a low priority, and so takes what a training on the same cores leaves.
"""

import argparse
import os
import signal
import warnings
from multiprocessing.connection import Connection
from typing import Any, final

import torch

from headwatch_callbacks.background.messages import Answer, Request
from headwatch_callbacks.background.shared_memory import SharedMemory
from headwatch_callbacks.background.snapshot import Memory, from_bytes, load, to_bytes
from headwatch_callbacks.questions.run_pass import run_pass

NICENESS = 10


@final
class Answerer:
    """Answers requests, and keeps the model of one request for the next.

    Args:
        memory: where the training puts its weights.
        device: where passes run.
    """

    def __init__(self, memory: Memory, device: torch.device) -> None:
        self._memory, self._device = memory, device
        self._model: Any = None

    def answer(self, request: Request) -> Answer:
        """One pass, whose failures and warnings are part of the answer."""
        with warnings.catch_warnings(record=True) as caught:
            results, error, loaded = self._asked(request)
        warned = [(str(each.message), each.category) for each in caught]
        return Answer(results, error, loaded, warned)

    def _asked(self, request: Request) -> tuple[Any, str | None, bool]:
        errors: list[Exception] = []
        try:
            if request.model is not None:
                self._model = load(self._memory, request.model, self._device)
            question = load(self._memory, request.question, self._device)
        except Exception as error:  # whatever the import of a user's module raises
            return (), _told(error), False
        results = run_pass(
            question,
            self._model,
            request.at,
            lambda result: None,
            within=request.precision.applied(self._model, self._device),
            failed=errors.append,
        )
        return results, _told(errors[0]) if errors else None, True


def serve(connection: Connection, answerer: Answerer) -> None:
    """Answer until the training says None, or has ended."""
    try:
        while (request := from_bytes(connection.recv_bytes())) is not None:
            connection.send_bytes(to_bytes(answerer.answer(request)))
    except (EOFError, ConnectionError):
        return


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> None:
    """Serve the training that started this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection", type=int, required=True, help="file descriptor of a socket")
    parser.add_argument("--memory", type=int, required=True, help="file descriptor of the shared memory")
    parser.add_argument("--size", type=int, required=True, help="bytes of the shared memory")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", type=torch.device, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which ends this process itself
    os.nice(NICENESS)
    torch.set_num_threads(given.threads)
    memory = SharedMemory(given.size, given.memory)
    serve(Connection(given.connection), Answerer(memory.bytes, given.device))


if __name__ == "__main__":
    main()
