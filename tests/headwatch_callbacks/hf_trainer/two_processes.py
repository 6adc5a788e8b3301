"""Trains by `transformers.Trainer`, started by torchrun: `... two_processes.py FOLDER KIND ...`."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from headwatch_callbacks import AttentionMaps, HeadAblation, ProbeCallback
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from tests.headwatch_callbacks.hf_trainer.training import trainer_of
from tests.headwatch_callbacks.training import CountingQuestion
from tests.models import random_pairs

TIMEOUT = 5  # seconds; nobody may be busy as long, but sleeping


class Sleeping(CountingQuestion):
    """Takes longer than the training's timeout."""

    probe = asked = "sleeping"

    def measure(self, *arguments: Any) -> Any:
        time.sleep(TIMEOUT * 1.5)
        return [
            replace(answer, scores={"asleep": torch.ones(3, 4)}) for answer in super().measure(*arguments)
        ]


class Failing(CountingQuestion):
    """Raises where it is measured, which must leave no process waiting."""

    probe = asked = "failing"

    def measure(self, *arguments: Any) -> Any:
        raise RuntimeError("no such luck")


def callbacks_of(kind: str, folder: Path) -> list[HeadwatchCallback]:
    """Probes that share passes out, last long or fail; or none."""
    probes = {
        "bare": [],
        "probed": [
            HeadAblation(random_pairs(n=7), metric="loss", every_n_train_steps=2),
            AttentionMaps(random_pairs(n=3)),
            ProbeCallback(Failing(), every_n_train_steps=1),
        ],
        "slow": [ProbeCallback(Sleeping(), at_end=False)],
        "refused": [HeadAblation(random_pairs(n=7), metric="loss")],
    }[kind]
    return [HeadwatchCallback(probes, folder / "record")] if probes else []


def main(folder: Path, kind: str) -> None:
    """Train for three steps."""
    settings = {"steps": 3, "gradient_accumulation_steps": 1, "ddp_timeout": TIMEOUT}
    if os.environ.get("WORLD_SIZE", "1") != "1":
        settings["ddp_backend"] = "gloo"
    trainer = trainer_of(folder, *callbacks_of(kind, folder), **settings)
    try:
        trainer.train()
    except Exception as error:
        (folder / f"error{trainer.args.process_index}").write_text(f"{type(error).__name__}: {error}")
        return
    if kind == "probed":
        trainer.evaluate()
    torch.save(trainer.model.state_dict(), folder / f"trained{trainer.args.process_index}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place, what in zip(*[iter(sys.argv[1:])] * 2, strict=True):
        main(Path(place), what)
    if dist.is_initialized():
        dist.destroy_process_group()
