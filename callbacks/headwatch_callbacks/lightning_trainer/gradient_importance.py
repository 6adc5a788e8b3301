"""How active every head is for the training loss, at every step, from the backward pass that runs anyway.

It costs one product of z and its gradient per layer and batch, and no forward of its own;
see `headwatch.scores.gradient_importance`.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from headwatch.scores.gradient_importance import GradientHeadImportance, normalized_by_layer
from headwatch_callbacks.lightning_trainer.options import TrainingOptions
from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
from headwatch_callbacks.lightning_trainer.ranks import sum_over_ranks
from headwatch_callbacks.questions.question import Moment, Progress, Question
from headwatch_callbacks.questions.result import ProbeResult


class Heard(Question):
    """How active the heads are for the training loss, by what was heard of its backward passes.

    Attributes:
        total: Σ|z · ∂L/∂z| over tokens, `[layer, head]`; None where nobody could listen.
        tokens: over how many, `[layer]`.
        left_out: over how many more, whose gradients are not finite, `[layer]`.
    """

    probe = "gradients"
    asked = "gradients"
    reads_model = False
    total: Tensor | None = None
    tokens: Tensor | None = None
    left_out: Tensor | None = None

    def measure(self, model: nn.Module, at: Moment, progress: Progress) -> Sequence[ProbeResult]:
        """Importance since the last answer.

        Raises:
            ValueError: no gradient reached any head.
        """
        if self.total is None or self.tokens is None:
            return [ProbeResult(self.probe, self.identity, at.step, at.epoch)]
        if not self.tokens.any() and (self.left_out is None or not self.left_out.any()):
            raise ValueError(
                "no gradient reached any head: the training step doesn't call this GPT-2, or calls it in a function "
                "that torch.compile has compiled, where nothing can listen; train it uncompiled, or ask HeadAblation"
            )
        importance = (self.total / self.tokens[:, None]).float()
        scores = {"importance": importance, "importance_in_layer": normalized_by_layer(importance)}
        largest = {"largest_importance": _largest(importance)}
        return [ProbeResult(self.probe, self.identity, at.step, at.epoch, scores=scores, scalars=largest)]


def _largest(importance: Tensor) -> float:
    """The largest importance of the layers that a gradient reached; NaN where it is no number."""
    known = importance[~importance.isnan()]
    return known.max().item() if known.numel() else float("nan")


class GradientImportance(ProbeCallback):
    """I_h = E|z_h · ∂L/∂z_h| over the training tokens since the last result (Michel et al. 2019).

    Example:
        >>> trainer = L.Trainer(callbacks=[GradientImportance(every_n_train_steps=10)])
        >>> trainer.fit(module, data)
        >>> list(hw.Record.read(record_folder(trainer)).scores[-1].scores)
        ['importance', 'importance_in_layer']

    It is a head's activity without sign: how far the loss would move, to first order, whichever way. That finds heads
    to look at, and is free; what a head is worth, only `HeadAblation` says. In training runs its rank correlation with
    the size of the exact effect was 0.2 to 0.7, 0.8 to 0.9 just before a phase change, and 0.2 after it. The page shows
    the two side by side.

    L is the loss that `training_step` returned for its batch: what Lightning makes of it before the backward pass
    (division by `accumulate_grad_batches`, the loss scale of `16-mixed`) is undone. Padding that the model's
    `attention_mask` names is not counted; without a mask all tokens are. Under DDP, L is each rank's own loss and
    the mean is over the tokens of all ranks. The scores are `importance`, in the loss's unit, and
    `importance_in_layer`, the same with each layer divided by its ℓ2 norm.

    Its series is `gradients`. Logged under `headwatch/gradients/`: a `map` a score, and `largest_importance`.

    It has nothing to say before the first step and in `trainer.validate` and `trainer.test`, where there is no
    backward pass. Nor can it listen inside what `torch.compile` has compiled, a model or a function that calls one:
    the compiled code stays as it is, a warning says so, and no score is made up.

    Args:
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    asks_frozen_models = False

    def __init__(self, **options: Unpack[TrainingOptions]) -> None:
        when: dict[str, Any] = {name: value for name, value in options.items() if name != "name"}
        super().__init__(Heard(options.get("name")), before_first=False, **when)
        self._listener: GradientHeadImportance | None = None
        self._handles: list[RemovableHandle] = []
        self._restored: dict[str, Tensor] = {}
        self._unscale = 1.0

    def state_dict(self) -> dict[str, Any]:
        """How far this probe got, and what it has heard since its last result."""
        state = super().state_dict()
        if self._listener is not None:
            state["total"] = self._listener.total.cpu() * self._unscale
            state["tokens"] = self._listener.tokens.cpu().clone()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was heard before the checkpoint, once training starts."""
        super().load_state_dict(state_dict)
        self._restored = {name: state_dict[name] for name in ("total", "tokens") if name in state_dict}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to listen."""
        super().on_train_start(trainer, pl_module)
        assert self._network is not None
        if _compiled(pl_module, self._network.model):
            rank_zero_warn(
                f"the probe {self.label} can't listen inside a model that torch.compile has compiled, and shows"
                " nothing: train it uncompiled, or ask HeadAblation, which runs the uncompiled model"
            )
            return
        sizes = self._network.sizes
        self._listener = GradientHeadImportance(sizes.n_layers, sizes.n_heads)
        self._handles = self._listener.attach(self._network.model)
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

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop listening, and close the record."""
        self._stop_listening()
        super().teardown(trainer, pl_module, stage)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop listening, and close the record; Lightning calls no `teardown` after an exception."""
        self._stop_listening()
        super().on_exception(trainer, pl_module, exception)

    def put_question(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Add up what every rank has heard, answer by that, and listen anew."""
        if self._listener is not None:
            total = sum_over_ranks(trainer, self._listener.total * self._unscale)
            tokens = sum_over_ranks(trainer, self._listener.tokens)
            self._heard.total, self._heard.tokens = total.cpu().clone(), tokens.cpu().clone()
            self._heard.left_out = sum_over_ranks(trainer, self._listener.left_out).cpu().clone()
            self._listener.reset()
        super().put_question(trainer, pl_module, step)

    @property
    def _heard(self) -> Heard:
        assert isinstance(self.question, Heard)
        return self.question

    def _stop_listening(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        self._listener = None
        self._heard.total = self._heard.tokens = self._heard.left_out = None


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
