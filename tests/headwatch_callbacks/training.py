"""A small training run that callbacks are put into, and everything about it that a probe must not change."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from headwatch.effects import Effects
from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
from headwatch_callbacks.questions.question import Moment, Progress, Question
from headwatch_callbacks.questions.result import ProbeResult
from tests.models import tiny_gpt2

QUIET = ["does not have many workers", "module\\(s\\) in eval mode", "`isinstance\\(treespec, LeafSpec\\)`"]


class Language(pl.LightningModule):
    """A language model with what tends to break: dropout, BatchNorm, and a sub-module frozen in eval mode."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        dropout = {"attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}
        self.gpt = tiny_gpt2(**dropout | settings).train()
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.Dropout(0.5).eval()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        out = self.gpt(**batch)
        loss = out.loss + self.norm(self.frozen(out.logits[:, -1, :4])).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.gpt(**batch).loss)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("test/loss", self.gpt(**batch).loss)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class PytorchLightningLanguage(pytorch_lightning.LightningModule):
    """The same GPT-2 in the other package's module."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Language()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.net.gpt(**batch).loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def batches(n: int = 6, size: int = 4, shuffle: bool = True, padded: bool = False) -> DataLoader:
    """n batches of random tokens, in an order that the global random state decides."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(61, (n * size, 10), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        mask[::2, 7:] = 0
    rows = [
        {"input_ids": i, "attention_mask": m, "labels": torch.where(m == 1, i, -100)}
        for i, m in zip(ids, mask, strict=True)
    ]
    return DataLoader(rows, batch_size=size, shuffle=shuffle)  # type: ignore[arg-type]


def trainer(callbacks: Sequence[pl.Callback], root: Path, **settings: Any) -> pl.Trainer:
    """A trainer that prints and saves nothing of its own."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "max_steps": 6,
    }
    return pl.Trainer(callbacks=list(callbacks), default_root_dir=root, accelerator="cpu", **quiet | settings)


@dataclass
class Trace(pl.Callback):
    """Everything that a probe must not change, as it was at each step and at the end."""

    losses: list[Tensor] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    modes: list[list[bool]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.modes.append([module.training for module in pl_module.modules()])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.losses.append(outputs["loss"].clone())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        named = pl_module.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.end["state"] = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.end["optimizer"] = trainer.optimizers[0].state_dict()["state"]

    def finish(self) -> None:
        self.end["rng"] = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]

    def everything(self) -> dict[str, Any]:
        return {"losses": self.losses, "gradients": self.gradients, "modes": self.modes, **self.end}


def trained(
    callbacks: Sequence[pl.Callback], root: Path, module: pl.LightningModule | None = None, **settings: Any
) -> Trace:
    """Train from the same start each time, and return what a probe must not change."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    trace = Trace()
    module = Language() if module is None else module
    # The trace stands first at a batch's end, so the probes follow it, and last at the end of fit.
    trainer([trace, *callbacks], root, **settings).fit(module, batches(), batches(2, shuffle=False))
    trace.finish()
    return trace


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two traces differ by at least one bit."""
    if isinstance(one, Tensor):
        if one.dtype != other.dtype or not torch.equal(_bits(one), _bits(other)):
            yield path
    elif isinstance(one, dict):
        if one.keys() != other.keys():
            yield f"{path} (keys)"
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{path} (length)"
        for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            yield from differences(mine, theirs, f"{path}/{index}")
    elif one != other:
        yield path


def _bits(value: Tensor) -> Tensor:
    """A tensor as bytes: a NaN is the same as itself, and 0 is not −0."""
    return value.detach().cpu().contiguous().flatten().view(torch.uint8)


class CountingQuestion(Question):
    """Notes the weights of the model each time it is asked."""

    probe = "counting"
    asked = "counting"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.weights: list[Tensor] = []

    def measure(self, model: nn.Module, at: Moment, progress: Progress) -> list[ProbeResult]:
        self.weights.append(model.transformer.wte.weight.detach().clone())
        effects = Effects(torch.zeros(1, 1, 1), torch.zeros(1), None, ("layer", "head"), "z", "zero", "loss")
        calls = {"calls": float(len(self.weights))}
        return [ProbeResult("counting", self.identity, at.step, at.epoch, effects=effects, scalars=calls)]


class Counting(ProbeCallback):
    """A probe that notes the optimizer steps and the x at which it ran."""

    kind = CountingQuestion

    def __init__(self, name: str | None = None, **options: Any) -> None:
        super().__init__(self.kind(name), **options)

    @property
    def weights(self) -> list[Tensor]:
        return self.question.weights
