"""Trains a model that `fully_shard` (FSDP2) shards, in two processes: `python -m ... FOLDER`."""

import os
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    ProbeCallback,
)
from tests.headwatch_callbacks.background.questions import Says
from tests.headwatch_callbacks.training import trainer
from tests.headwatch_callbacks.two_processes import PAIRS, TIMEOUT, Alike

SIZE = 2


def scaled(module: nn.Module, given: Any, output: Any) -> Any:
    """A user's hook, which passes must see."""
    return (1.5 * output[0], *output[1:]) if isinstance(output, tuple) else 1.5 * output


class Sharded(Alike):
    """Each block a unit, and the rest another one; a user's hook on one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt.transformer.h[0].register_forward_hook(scaled)

    def configure_model(self) -> None:
        if self.device_mesh is not None and not any(
            "fsdp" in type(m).__name__.lower() for m in self.gpt.modules()
        ):
            mesh = self.device_mesh["data_parallel"]
            for block in self.gpt.transformer.h:
                fully_shard(block, mesh=mesh)
            fully_shard(self.gpt, mesh=mesh)

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.gpt(**batch).loss

    def val_dataloader(self) -> Any:
        return self.train_dataloader()


def sharded(probes: Sequence[pl.Callback], root: Path, **settings: Any) -> pl.Trainer:
    """A trainer of such a model."""
    strategy = ModelParallelStrategy(
        data_parallel_size=SIZE,
        tensor_parallel_size=1,
        save_distributed_checkpoint=False,
        process_group_backend="gloo",
        timeout=timedelta(seconds=TIMEOUT),
    )
    some: dict[str, Any] = {"max_steps": 3, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    return trainer(
        probes, root, strategy=strategy, devices=SIZE, use_distributed_sampler=False, **some | settings
    )


def probes_of(root: Path) -> list[pl.Callback]:
    """Every callback."""
    return [
        HeadAblation(PAIRS, metric="loss", every_n_train_steps=2, record=root / "record"),
        ActivationPatching(PAIRS, metric="loss"),
        AttentionMaps(PAIRS),
        GradientImportance(every_n_train_steps=2),
    ]


def main(root: Path) -> None:
    """Train with probes and without, validate the full checkpoint, and be refused under tensor parallelism."""
    torch.set_num_threads(1)
    for name in ("probed", "bare"):
        torch.manual_seed(0)
        module, probes = Sharded(), probes_of(root) if name == "probed" else []
        training = sharded(probes, root)
        training.fit(module)
        training.save_checkpoint(root / f"{name}.ckpt")
    validating = sharded([HeadAblation(PAIRS, metric="loss", record=root / "validated")], root)
    validating.validate(Sharded(), ckpt_path=root / "probed.ckpt", verbose=False, weights_only=False)
    products = ModelParallelStrategy(1, SIZE, process_group_backend="gloo")
    told = [
        refused(trainer(probes_of(root / "refused"), root, strategy=products, devices=SIZE)),
        refused(sharded([ProbeCallback(Says(), every_n_train_steps=2, background=True)], root)),
    ]
    (root / f"rank{os.environ['LOCAL_RANK']}").write_text("\n".join(told))


def refused(training: pl.Trainer) -> str:
    """What a trainer says that refuses to train."""
    try:
        training.fit(Sharded())
    except ValueError as error:
        return str(error)
    return "it trains"


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in range(SIZE):
        child = os.fork()
        if child == 0:
            os.environ["LOCAL_RANK"] = str(rank)
            main(Path(sys.argv[1]))
            os._exit(0)
        children.append(child)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))
