"""A training with a record that is killed, by signal 9, before, within or after its n-th write to the disk."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwatch_callbacks import AttentionMaps, HeadAblation
from tests.matrix.lightning_training import trainer_of
from tests.matrix.training import Training, data, module_of, seed
from tests.models import random_pairs

STEPS = 5
SAVED_AFTER = (2, 4)
WHEN = ("before", "within", "after")
WRITES = ("write", "replace", "rename", "link", "unlink", "fsync")


def train(folder: Path, kill_at: int = -1, when: str = "after") -> int:
    """Train, going on from the last checkpoint where there is one; how many writes it took.

    A line of `folder/said` says after each step that its passes have been written.

    Args:
        folder: for the record, the checkpoint, and what is said.
        kill_at: at which write the process kills itself, counted from 0; -1 = never.
        when: where in that write: `before` it, `within` it (half of the bytes are written) or `after` it.
    """
    seed()
    training = Training(dropout=0.0)
    pairs = random_pairs(n=2)
    probes = [
        HeadAblation(pairs, metric="loss", every_n_train_steps=1, record=folder / "record", layers=[0]),
        AttentionMaps(pairs, every_n_train_steps=1),
    ]
    saved = folder / "last.ckpt"
    trainer = trainer_of(training, [*probes, _says(folder, saved)], folder, STEPS)
    module = module_of(training)
    counted = _count_writes(kill_at, when)
    path = saved if saved.exists() else None
    trainer.fit(module, data(), data(1, shuffle=False), ckpt_path=path, weights_only=False)
    return counted[0]


def _says(folder: Path, saved: Path) -> Any:
    import lightning.pytorch as pl

    class Says(pl.Callback):
        """Says before each batch which step's passes were written, and keeps a checkpoint of every second step."""

        write, replace = os.write, os.replace

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step > 0:
                with (folder / "said").open("ab", buffering=0) as said:
                    type(self).write(said.fileno(), f"{trainer.global_step - 1}\n".encode())

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step in SAVED_AFTER:
                trainer.save_checkpoint(folder / "new.ckpt")
                type(self).replace(folder / "new.ckpt", saved)

    return Says()


def _count_writes(kill_at: int, when: str) -> list[int]:
    """Have every write of this process counted, and one of them kill it."""
    counted = [0]
    for name in WRITES:
        setattr(os, name, _deadly(getattr(os, name), name, counted, kill_at, when))
    return counted


def _deadly(
    real: Callable[..., Any], name: str, counted: list[int], kill_at: int, when: str
) -> Callable[..., Any]:
    def write(*arguments: Any, **options: Any) -> Any:
        fatal = counted[0] == kill_at
        counted[0] += 1
        if fatal and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if fatal and when == "within" and name == "write":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*arguments, **options)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return write
