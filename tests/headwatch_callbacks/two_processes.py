"""Trains in several processes: `python -m tests.headwatch_callbacks.two_processes DEVICES FOLDER KIND ...`."""

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
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
from headwatch_callbacks.questions.question import Question
from tests.headwatch_callbacks.background.questions import Waits
from tests.headwatch_callbacks.training import Counting, CountingQuestion, Language, batches, trainer
from tests.models import random_pairs

PAIRS = random_pairs(n=7, lengths=[9, 5, 7, 9, 5, 5, 8])
TIMEOUT = 5.0  # seconds; nobody may be busy as long, but sleeping


class Alike(Language):
    """Every process sees the same batches, so that two train as one does."""

    def __init__(self) -> None:
        super().__init__(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
        del self.norm  # DDP wants every parameter to have a gradient
        self.double()  # so that rounding doesn't hide what is wrong by little

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


class FailingElsewhere(CountingQuestion):
    """In parts, of which the first one answers and the second one raises."""

    probe = asked = "elsewhere"

    def parts(self, n_parts: int) -> list[Question]:
        return [self, FailingQuestion()][:n_parts]


class Sleeping(CountingQuestion):
    """Takes longer than the training's timeout."""

    probe = asked = "sleeping"

    def measure(self, *arguments: Any) -> Any:
        time.sleep(TIMEOUT * 1.2)
        return super().measure(*arguments)


class SeenByAll(pl.Callback):
    """Every process keeps the summary that it can monitor."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {
            name: value.item() for name, value in trainer.callback_metrics.items() if "headwatch" in name
        }
        (self.root / f"rank{trainer.global_rank}").write_text(repr(sorted(found.items())))


class ClosesSlowly(pl.Callback):
    """Rank 0 takes longer than the timeout to close its run, for which the other one waits in a collective."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            run_of(trainer).background.close = lambda: time.sleep(TIMEOUT * 1.2)
        pl_module.teardown = lambda stage: trainer.strategy.barrier()  # which comes after all callbacks


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
    if kind.endswith("bare"):
        return []
    if kind == "rough":
        when: dict[str, Any] = {"every_n_train_steps": 2, "before_first": False}
        return [HeadAblation(PAIRS, metric="loss", record=root / "record", **when)]
    if kind == "background":
        question = Waits(root / "gate")
        probe = ProbeCallback(question, every_n_train_steps=1, background=True, record=root / "record")
        return [Opens(question.gate), probe]
    if kind == "slow":
        when = {"every_n_epochs": 1, "at_end": False, "before_first": False}
        return [ClosesSlowly(), ProbeCallback(Sleeping(), record=root / "record", **when)]
    same_length, few = random_pairs(n=7), random_pairs(n=2)
    return [
        HeadAblation(PAIRS, metric=["loss", "kl"], every_n_train_steps=2, record=root / "record"),
        HeadAblation(same_length, metric="loss", kind="resample", given=[(1, 2)]),
        HeadAblation(few, metric="loss", name="few"),
        HeadAblation(random_pairs(n=12), metric="loss", name="estimate", target_stderr="2%"),
        ActivationPatching(same_length, site="resid_pre", by_position=True, metric="loss"),
        ActivationPatching(PAIRS, max_overhead=0.5, name="paid"),
        AttentionMaps(PAIRS),
        GradientImportance(every_n_train_steps=2),
        FailingOnRankZero(every_n_train_steps=1),
        ProbeCallback(FailingElsewhere(), at_end=False),
        SeenByAll(root),
    ]


def main(devices: int, root: Path, kind: str, **settings: Any) -> None:
    """Train for three steps."""
    torch.manual_seed(0)
    root.mkdir(exist_ok=True)
    settings |= {"max_steps": 3, "devices": devices, "use_distributed_sampler": False}
    if devices > 1:
        settings["strategy"] = DDPStrategy(start_method="fork", timeout=timedelta(seconds=TIMEOUT))
    module = Alike()
    if kind.startswith("rough"):
        settings |= {"precision": "bf16-mixed", "accumulate_grad_batches": 2}
        module.float()
    trainer(probes_of(kind, root), root, limit_val_batches=0, **settings).fit(module)
    torch.save(module.state_dict(), root / "trained.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number, folder, kind in zip(*[iter(sys.argv[1:])] * 3, strict=True):
        main(int(number), Path(folder), kind)
