"""Three processes that do all that `Ranks` offers, and two ways to let the others down: `... FOLDER`.

Each writes what it found into FOLDER, as text, a file a process.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from headwatch_callbacks.ranks.ranks import Outcome, Ranks

SIZE, TIMEOUT, LONGER = 3, 4.0, 6.0  # seconds; nobody may be busy for TIMEOUT, but sleeping


def told(what: Callable[[], Any]) -> Any:
    """What is found, or the error in words."""
    try:
        found = what()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return (
        [each.value if each.error is None else repr(each.error) for each in found]
        if _outcomes(found)
        else found
    )


def _outcomes(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, Outcome) for each in found)


def raises(error: BaseException) -> Any:
    """Raise an error, in an expression."""
    raise error


def stop() -> None:
    """Stand still, as a process on a machine that hangs does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def works(rank: int, ranks: Ranks) -> dict[str, Any]:
    """What goes well, or goes wrong and is agreed on."""
    return {
        "gathered": told(lambda: ranks.gather(lambda: 10 * rank)),
        "one failed": told(lambda: ranks.gather(lambda: raises(ValueError("odd")) if rank == 2 else rank)),
        "from first": told(lambda: ranks.from_first(lambda: f"by {rank}")),
        "first failed": told(lambda: ranks.from_first(lambda: raises(ValueError("odd")))),
        "long": told(lambda: ranks.gather(lambda: time.sleep(LONGER if rank == 1 else 0))),
    }


def main(rank: int, folder: Path) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    timeout = timedelta(seconds=TIMEOUT)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=SIZE, timeout=timeout
    )
    ranks = [Ranks.of_training(timeout) for _ in range(3)]
    found = works(rank, ranks[0])
    found["one gave up"] = told(
        lambda: ranks[1].gather(lambda: raises(KeyboardInterrupt()) if rank == 0 else rank)
    )
    found["and then"] = told(lambda: ranks[1].gather(lambda: rank))
    ranks[0].close()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    found["one stands still"] = told(lambda: ranks[2].gather(lambda: stop() if rank == 2 else rank))
    (folder / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)  # the training's group is broken, and would say so


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    children = list[int]()
    for rank in range(SIZE):
        child = os.fork()
        if child == 0:
            main(rank, folder)
        children.append(child)
    for child in children[:2]:
        os.waitpid(child, 0)
    os.kill(children[2], signal.SIGKILL)
    os.waitpid(children[2], 0)
