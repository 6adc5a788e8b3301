"""Gradient head importance, for free, from the backward pass that the training run makes anyway.

`GradientHeadImportance` listens at the input of each attention's output projection, where a head's z is. Its
cost is one product of z and its gradient per layer and step; between steps it holds one number per head, and
the training's values and gradients stay bit for bit what they were.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchmetrics import Metric

from headwatch.model.find import find_architecture
from headwatch.model.listening_hooks import listen_before

_paused: ContextVar[bool] = ContextVar("gradient_head_importance_paused", default=False)


def head_importance(
    z: Float[Tensor, "batch position head d_head"],
    gradient: Float[Tensor, "batch position head d_head"],
    real: Bool[Tensor, "batch position"],
) -> Float[Tensor, " head"]:
    """Σ over real tokens of |z_h · ∂L/∂z_h| per head (Michel et al. 2019), in the loss's unit.

    The dot product over d_head is taken token by token, in fp32, and so is the absolute value: contributions of
    opposite sign do not cancel. Divided by the number of real tokens it is the paper's expectation.

    Args:
        z: what each head writes, before the output projection.
        gradient: of the loss with respect to z.
        real: False at padding.
    """
    return ((z.float() * gradient.float()).sum(-1).abs() * real[..., None]).sum((0, 1))


def normalized_by_layer(importance: Float[Tensor, "layer head"]) -> Float[Tensor, "layer head"]:
    """Each layer divided by its ℓ2 norm, as Michel et al. (2019) prune by; a layer of zeros stays zero."""
    norm = importance.norm(dim=-1, keepdim=True)
    return importance / norm.masked_fill(norm == 0, 1.0)


class GradientHeadImportance(Metric):
    """I_h = E|z_h · ∂L/∂z_h| over the real tokens of all batches seen (Michel et al. 2019).

    The states are sums and counts (`dist_reduce_fx="sum"`, sums in float64), so that merging ranks is exact. L
    is what `backward` was called on: where that is a mean over a batch's tokens, I_h shrinks as batches grow.

    Args:
        n_layers: layers of the model.
        n_heads: heads of a layer.

    Attributes:
        loss_scale: what the loss was multiplied by before `backward`, such as 1 / accumulated batches or a
            gradient scaler's scale; gradients are divided by it.

    Example:
        >>> importance = hw.GradientHeadImportance(n_layers=12, n_heads=12)
        >>> with importance.attached(model):
        ...     model(ids, labels=ids).loss.backward()
        >>> importance.compute()["raw"].shape                              # [layer, head]
        torch.Size([12, 12])
    """

    full_state_update = False
    higher_is_better = None
    total: Tensor
    tokens: Tensor
    left_out: Tensor

    def __init__(self, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(n_layers, n_heads, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros(n_layers, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("left_out", torch.zeros(n_layers, dtype=torch.long), dist_reduce_fx="sum")
        self.loss_scale = 1.0
        self._mask: Tensor | None = None

    def update(
        self,
        layer: int,
        z: Float[Tensor, "batch position head d_head"],
        gradient: Float[Tensor, "batch position head d_head"],
        real: Bool[Tensor, "batch position"],
    ) -> None:
        """Add one layer's share of one backward pass; shapes as in `head_importance`.

        A share that is not finite is left out, and its tokens are counted in `left_out`: a gradient scaler skips such a
        step too.
        """
        share = head_importance(z, gradient, real).to(self.total) / self.loss_scale
        finite = share.isfinite().all()
        self.total[layer] += torch.where(finite, share, 0.0)
        self.tokens[layer] += (real.sum() * finite).to(self.tokens)
        self.left_out[layer] += (real.sum() * ~finite).to(self.left_out)

    def compute(self) -> dict[str, Float[Tensor, "layer head"] | Int[Tensor, " layer"]]:
        """What was seen so far.

        Returns:
            `raw`: I_h in the loss's unit, `[layer, head]`; NaN for a layer that no gradient reached, as below the
            lowest trained parameter. `normalized`: `raw` with each layer divided by its ℓ2 norm. `tokens`: how
            many real tokens each layer's mean is over, `[layer]`.
        """
        raw = (self.total / self.tokens[:, None]).float()
        return {"raw": raw, "normalized": normalized_by_layer(raw), "tokens": self.tokens.clone()}

    def reset(self) -> None:
        """Start anew; allowed in inference mode too."""
        with torch.inference_mode(False):
            super().reset()

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Listen to the backward passes of all forwards made inside; see `attach`."""
        with ExitStack() as stack:
            for handle in self.attach(model):
                stack.callback(handle.remove)
            yield

    def attach(self, model: nn.Module) -> list[RemovableHandle]:
        """Listen to every backward pass of the forwards made until the returned handles are removed.

        Forwards without gradients add nothing, nor do headwatch's own backward passes. Works under autocast and
        gradient checkpointing (there, remove the handles only after the backward). What `torch.compile` has compiled,
        a model or a function that calls one, is not heard: nothing is added, and the compiled code stays as it is.
        Copies and files of the model don't listen.

        Args:
            model: Hugging Face's GPT-2, or a module that holds one.

        Raises:
            ValueError: the model has another number of layers or heads, or holds no known network.
        """
        network = find_architecture(model)
        sizes = network.sizes
        if tuple(self.total.shape) != (sizes.n_layers, sizes.n_heads):
            raise ValueError(
                f"made for {self.total.shape[0]} layers of {self.total.shape[1]} heads, but the model has "
                f"{sizes.n_layers} layers of {sizes.n_heads}"
            )
        self.to(network.device)
        mask = listen_before(network.takes_mask, self._remember_mask)
        projections = [network.output_projection(layer) for layer in range(sizes.n_layers)]
        heads = [listen_before(each, partial(self._listen, layer)) for layer, each in enumerate(projections)]
        return [mask, *heads]

    def _remember_mask(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask", args[2] if len(args) > 2 else None)
        self._mask = mask if mask is not None and mask.ndim == 2 else None

    def _listen(
        self, layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, ...] | None:
        z = args[0]
        if _paused.get() or not (torch.is_grad_enabled() and z.requires_grad):
            return None
        return (_Listen.apply(z, partial(self._receive, layer, self._mask)), *args[1:])

    def _receive(self, layer: int, mask: Tensor | None, z: Tensor, gradient: Tensor) -> None:
        real = torch.ones(z.shape[:2], device=z.device) if mask is None else mask
        heads = self.total.shape[1]
        self.update(layer, z.unflatten(-1, (heads, -1)), gradient.unflatten(-1, (heads, -1)), real.bool())


@contextmanager
def pause_listening() -> Iterator[None]:
    """Keep the forwards made inside out of every `GradientHeadImportance`: they are no training."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


class _Listen(torch.autograd.Function):
    """The identity, which hands z and its gradient to a function during the backward pass.

    z is kept as a saved tensor of the graph, as the projection keeps it anyway, so that it is freed, recomputed
    under gradient checkpointing and off-loaded as every other activation is.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, receive: Callable[[Tensor, Tensor], None]) -> Tensor:
        ctx.save_for_backward(z)
        ctx.receive = receive
        return z.view_as(z)

    @staticmethod
    @torch.compiler.disable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        with torch.no_grad():
            ctx.receive(ctx.saved_tensors[0], gradients[0])
        return gradients[0], None
