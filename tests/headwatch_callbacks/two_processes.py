"""A program that trains with two processes: `python -m tests.headwatch_callbacks.two_processes DEVICES FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    ProbeCallback,
)
from headwatch_callbacks.lightning_trainer.trainer_run import run_of
from tests.headwatch_callbacks.background.questions import Waits
from tests.headwatch_callbacks.training import Counting, CountingQuestion, Language, batches, trainer
from tests.models import random_pairs


class Alike(Language):
    """Every process sees the same batches, so that two train as one does."""

    def __init__(self) -> None:
        super().__init__(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
        del self.norm  # DDP wants every parameter to have a gradient

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.gpt(**batch).loss
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader:
        data = batches(6, shuffle=False).dataset
        return DataLoader(data, batch_size=4, sampler=SequentialSampler(data))


class FailingQuestion(CountingQuestion):
    """Raises where it is measured, which must not leave the other process waiting."""

    def measure(self, *arguments: Any) -> Any:
        raise RuntimeError("no such luck")


class FailingOnRankZero(Counting):
    kind = FailingQuestion


class SeenByAll(pl.Callback):
    """Every process keeps the summary that it can monitor."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = trainer.callback_metrics["headwatch/ablation/z/mean/loss/clean"].item()
        (self.root / f"rank{trainer.global_rank}").write_text(repr(found))
        torch.save(pl_module.state_dict(), self.root / f"rank{trainer.global_rank}.pt")


class Opens(pl.Callback):
    """Lets the waiting question go on when rank 0 has trained; had it waited, it would wait for ever."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert bool(run_of(trainer).background.under_way) == trainer.is_global_zero
        if trainer.is_global_zero:
            self.gate.touch()


def probes_of(kind: str, root: Path) -> list[pl.Callback]:
    """Every callback, a pass in the background that lasts as long as the training, or none."""
    if kind == "bare":
        return []
    if kind == "background":
        question = Waits(root / "gate")
        probe = ProbeCallback(question, every_n_train_steps=1, background=True, record=root / "record")
        return [Opens(question.gate), probe]
    pairs = random_pairs()
    return [
        HeadAblation(pairs, metric="loss", every_n_train_steps=2, record=root / "record"),
        ActivationPatching(pairs),
        AttentionMaps(pairs),
        GradientImportance(every_n_train_steps=2),
        FailingOnRankZero(every_n_train_steps=1),
        SeenByAll(root),
    ]


def main(devices: int, root: Path, kind: str) -> None:
    """Train for three steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    root.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"max_steps": 3, "devices": devices, "use_distributed_sampler": False}
    if devices > 1:
        settings["strategy"] = "ddp_fork"
    module = Alike()
    trainer(probes_of(kind, root), root, limit_val_batches=0, **settings).fit(module)
    torch.save(module.state_dict(), root / "trained.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
