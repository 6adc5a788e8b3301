"""One way to train, as a row of the matrix sets it, and the module that Lightning trains by it.

The module has what tends to break: dropout, BatchNorm, and a sub-module that the user has put into evaluation mode.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.models import random_ids, tiny_gpt2

N_BATCHES, N_EPOCHS, BATCH_SIZE = 4, 2, 4


@dataclass(frozen=True)
class Training:
    """A training; each field is what a user may choose."""

    precision: str = "32-true"
    accumulate: int = 1
    clip: float | None = None
    dropout: float = 0.1
    checkpointing: bool = False
    compiled: str = ""
    backend: str = "aot_eager"
    fullgraph: bool = False
    attention: str = "sdpa"
    lora: bool = False
    frozen: bool = False
    averaging: str = ""
    optimizers: int = 1
    resumed: bool = False
    package: str = "lightning.pytorch"
    strategy: str = ""
    validated: bool = True
    on_validation: bool = False
    background: bool = False
    max_overhead: float | None = None
    budget: float | None = None
    best_at_end: bool = False
    counting_hook: bool = False

    @property
    def processes(self) -> int:
        return 2 if self.strategy else 1

    @property
    def steps(self) -> int:
        """As Lightning counts them: each optimizer's."""
        return N_EPOCHS * N_BATCHES // self.accumulate * self.optimizers

    def but(self, **changes: Any) -> "Training":
        return replace(self, **changes)


def seed() -> None:
    """The start that each training has."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def network(training: Training) -> nn.Module:
    """The GPT-2 that is trained: adapted, partly frozen, or saving memory, as the row says."""
    dropout = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), training.dropout)
    gpt = tiny_gpt2(**dropout, attn_implementation=training.attention).train()
    gpt.loss_type = (
        "ForCausalLM"  # else transformers logs within the graph, which fullgraph=True does not forgive
    )
    if training.frozen:
        for part in (gpt.transformer.wte, gpt.transformer.h[0]):
            part.requires_grad_(False)
    if training.checkpointing:
        gpt.gradient_checkpointing_enable({"use_reentrant": False})
    if training.counting_hook:
        gpt.transformer.register_buffer("calls", torch.zeros(1))
        gpt.transformer.register_forward_hook(_count)
    if not training.lora:
        return gpt
    if training.checkpointing:
        gpt.enable_input_require_grads()
    targets = ["c_attn", "attn.c_proj", "c_fc"]
    return get_peft_model(gpt, LoraConfig(r=2, lora_alpha=8, target_modules=targets, init_lora_weights=False))


def _count(module: nn.Module, *_: Any) -> None:
    module.calls += 1  # type: ignore[operator]


def compiled(gpt: nn.Module, training: Training) -> tuple[nn.Module, Callable[..., Any]]:
    """The network, and what the training step calls."""
    options: dict[str, Any] = {"backend": training.backend, "fullgraph": training.fullgraph}
    match training.compiled:
        case "torch.compile(model)":
            gpt = torch.compile(gpt, **options)
        case "model.compile()":
            gpt.compile(**options)
        case "model.forward = torch.compile(model.forward)":
            gpt.forward = torch.compile(gpt.forward, **options)
        case "@torch.compile on a function":
            return gpt, torch.compile(lambda **batch: gpt(**batch), **options)
    return gpt, lambda **batch: gpt(**batch)


def data(n_batches: int = N_BATCHES, shuffle: bool = True) -> DataLoader:
    """Random tokens, some padded, in an order that the global random state decides."""
    ids = random_ids(n_batches * BATCH_SIZE, 10, seed=1)
    mask = torch.ones_like(ids)
    mask[::2, 7:] = 0
    rows = [
        {"input_ids": i, "attention_mask": m, "labels": torch.where(m == 1, i, -100)}
        for i, m in zip(ids, mask, strict=True)
    ]
    return DataLoader(rows, batch_size=BATCH_SIZE, shuffle=shuffle)  # type: ignore[arg-type]


def module_of(training: Training) -> Any:
    """The LightningModule of a row, of `lightning.pytorch` or of `pytorch_lightning`."""
    base = import_module(training.package).LightningModule

    class Language(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = training.optimizers == 1
            self.gpt, self._call = compiled(network(training), training)
            if not training.strategy:
                self.norm = nn.BatchNorm1d(4)
            self.frozen = nn.Dropout(0.5).eval()
            self.losses: list[Tensor] = []

        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
            out = self._call(**batch)
            last = self.frozen(out.logits[:, -1, :4])
            loss = out.loss + (last if training.strategy else self.norm(last)).square().mean()
            self.losses.append(loss.detach().clone())
            self.log("train/loss", loss)
            return self.step_by_hand(loss) if training.optimizers > 1 else loss

        def step_by_hand(self, loss: Tensor) -> None:
            optimizers = self.optimizers()
            for optimizer in optimizers:
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in optimizers:
                optimizer.step()

        def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.log("val/loss", self.gpt(**batch).loss)

        def configure_optimizers(self) -> Any:
            trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
            shares = [trained[n :: training.optimizers] for n in range(training.optimizers)]
            found = [torch.optim.AdamW(share, lr=1e-2) for share in shares]
            if training.optimizers > 1:
                return found
            return found, [torch.optim.lr_scheduler.StepLR(found[0], 1)]

        def configure_model(self) -> None:
            if training.strategy == "fsdp2" and self.device_mesh is not None:
                from torch.distributed.fsdp import fully_shard

                mesh = self.device_mesh["data_parallel"]
                for block in self.gpt.transformer.h:
                    fully_shard(block, mesh=mesh)
                fully_shard(self.gpt, mesh=mesh)

    return Language()
