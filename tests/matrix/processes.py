"""Functions run in processes of their own, each forked from one that has imported everything already."""

import contextlib
import multiprocessing
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.matrix.preload"])


def run(
    function: Callable[..., Any], *arguments: Any, folder: Path, ranks: int = 1, timeout: float = 300
) -> list[Any]:
    """What a function returns in a process each, as `torch.save` keeps it.

    Several ranks find each other as under torchrun.

    Raises:
        RuntimeError: a process raised, died, or took longer than `timeout` seconds; with what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    children = [
        CONTEXT.Process(target=_child, args=(function, arguments, folder, rank, ranks, port))
        for rank in range(ranks)
    ]
    for child in children:
        child.start()
    for rank, child in enumerate(children):
        child.join(timeout)
        if child.exitcode != 0:
            for each in children:
                each.kill()
            said = (folder / f"said{rank}").read_text(errors="replace")
            raise RuntimeError(f"process {rank} of {ranks} ended with {child.exitcode}:\n{said[-4000:]}")
    return [torch.load(folder / f"returned{rank}", weights_only=False) for rank in range(ranks)]


def _child(
    function: Callable[..., Any], arguments: tuple[Any, ...], folder: Path, rank: int, ranks: int, port: int
) -> None:
    with (folder / f"said{rank}").open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                warnings.simplefilter("always")
                if ranks > 1:
                    os.environ |= _torchrun(rank, ranks, port)
                torch.save(function(*arguments), folder / f"returned{rank}")
            except BaseException:
                traceback.print_exc()
                said.flush()
                os._exit(1)
    sys.stdout = sys.stderr = sys.__stderr__
    os._exit(0)  # what others registered for the end of a process waits for what the fork left behind


def _torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    """The environment that torchrun gives a process."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "TORCHELASTIC_RUN_ID": "matrix",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
