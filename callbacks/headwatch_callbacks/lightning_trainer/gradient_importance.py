"""What every head is worth to the training loss, at every step, from the backward pass that runs anyway.

It costs one product of z and its gradient per layer and batch, and no forward of its own;
see `headwatch.scores.gradient_importance`.
"""

from typing import Any, Unpack

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import GPT2LMHeadModel

from headwatch.model.gpt2 import layout
from headwatch.scores.gradient_importance import GradientHeadImportance, normalized_by_layer
from headwatch_callbacks.lightning_trainer.probe_callback import Findings, ProbeCallback, TrainingOptions
from headwatch_callbacks.lightning_trainer.progress import PassProgress
from headwatch_callbacks.lightning_trainer.ranks import sum_over_ranks


class GradientImportance(ProbeCallback):
    """I_h = E|z_h · ∂L/∂z_h| over the training tokens since the last result (Michel et al. 2019).

    Example:
        >>> trainer = L.Trainer(callbacks=[GradientImportance(every_n_train_steps=10)])
        >>> trainer.fit(module, data)
        >>> list(hw.Record.read(record_folder(trainer)).scores[-1].scores)
        ['importance', 'importance_in_layer']

    L is the loss that `training_step` returned for its batch: what Lightning makes of it before the backward pass
    (division by `accumulate_grad_batches`, the loss scale of `16-mixed`) is undone. Padding that the model's
    `attention_mask` names is not counted; without a mask all tokens are. Under DDP, L is each rank's own loss and
    the mean is over the tokens of all ranks. The scores are `importance`, in the loss's unit, and
    `importance_in_layer`, the same with each layer divided by its ℓ2 norm.

    It has nothing to say before the first step and in `trainer.validate` and `trainer.test`, where there is no
    backward pass. Nor can it listen inside a `torch.compile`d model: that is warned about, and no score is made up.

    Args:
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    probe = "gradients"

    def __init__(self, **options: Unpack[TrainingOptions]) -> None:
        super().__init__(before_first=False, **options)
        self._listener: GradientHeadImportance | None = None
        self._handles: list[RemovableHandle] = []
        self._restored: dict[str, Tensor] = {}
        self._unscale = 1.0
        self._gathered: dict[str, Tensor] = {}

    @property
    def question(self) -> str:
        """`gradients`."""
        return "gradients"

    def state_dict(self) -> dict[str, Any]:
        """How far this probe got, and what it has heard since its last result."""
        state = super().state_dict()
        if self._listener is not None:
            state["total"] = self._listener.total.cpu() * self._unscale
            state["tokens"] = self._listener.tokens.cpu().clone()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state_dict)
        self._restored = {name: state_dict[name] for name in ("total", "tokens") if name in state_dict}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to listen."""
        super().on_train_start(trainer, pl_module)
        assert self._gpt2 is not None
        if _compiled(pl_module, self._gpt2):
            rank_zero_warn(
                f"the probe {self.label} can't listen inside a model that torch.compile has compiled, and shows"
                " nothing: train it uncompiled, or ask HeadAblation, which runs the uncompiled model"
            )
            return
        sizes = layout(self._gpt2)
        self._listener = GradientHeadImportance(sizes.n_layers, sizes.n_heads)
        self._handles = self._listener.attach(self._gpt2)
        self._unscale = 1.0
        if self._restored:
            self._listener.total += self._restored["total"].to(self._listener.total)
            self._listener.tokens += self._restored["tokens"].to(self._listener.tokens)
            self._restored = {}

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Note by how much the loss that is differentiated is smaller or larger than the batch's own."""
        divided = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        unscale = divided / (1.0 if scaler is None else scaler.get_scale())
        if self._listener is not None and unscale != self._unscale:
            self._listener.total *= self._unscale / unscale
            self._unscale = unscale

    def gather(self, trainer: pl.Trainer) -> None:
        """Add up what every rank has heard, and start anew."""
        if self._listener is None:
            return
        total = sum_over_ranks(trainer, self._listener.total * self._unscale)
        tokens = sum_over_ranks(trainer, self._listener.tokens)
        self._gathered = {"total": total.clone(), "tokens": tokens.clone()}
        self._listener.reset()

    def measure(self, model: GPT2LMHeadModel, progress: PassProgress) -> Findings:
        """Importance since the last result.

        Raises:
            ValueError: no gradient reached any head.
        """
        if self._listener is None:
            return Findings()
        total, tokens = self._gathered["total"].cpu(), self._gathered["tokens"].cpu()
        if not tokens.any():
            raise ValueError("no gradient reached any head: does the training step call this GPT-2?")
        importance = (total / tokens[:, None]).float()
        scores = {"importance": importance, "importance_in_layer": normalized_by_layer(importance)}
        return Findings(scores=scores, scalars={"largest_importance": importance.nan_to_num().max().item()})

    def release(self) -> None:
        """Stop listening."""
        while self._handles:
            self._handles.pop().remove()
        self._listener = None

    def evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: there is no backward pass to listen to."""


def _compiled(pl_module: pl.LightningModule, gpt2: nn.Module) -> bool:
    """Whether compiled code runs the GPT-2: itself, a part of it, or something around it."""
    if getattr(pl_module, "_compiler_ctx", None) is not None:
        return True
    parts = set(gpt2.modules())
    for module in pl_module.modules():
        compiled = isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None
        if compiled and (module in parts or gpt2 in module.modules()):
            return True
    return False
