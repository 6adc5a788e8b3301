"""Torch hooks that fire named activations of one forward, and their removal: what any layout of modules needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from headwatch.model.listening_hooks import only_listens

Fire = Callable[[str, Tensor], Tensor | None]


@dataclass
class ForwardHooks:
    """Hooks on modules for the wanted activations of one forward.

    Attributes:
        wanted: full names; nothing else is computed or touched.
        fire: called with a name and a value; returns the value to go on with, or None to leave it alone.
        allowed: where each query may look, for `attn_scores` and `pattern`.
    """

    wanted: frozenset[str]
    fire: Fire
    allowed: Bool[Tensor, "batch 1 pos pos"]
    handles: list[RemovableHandle] = field(default_factory=list, init=False)

    def __enter__(self) -> "ForwardHooks":
        return self

    def __exit__(self, *exception: object) -> None:
        while self.handles:
            self.handles.pop().remove()

    def after(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Run `hook(module, args, output)` after a module."""
        self.handles.append(module.register_forward_hook(hook))

    def before(self, module: nn.Module, hook: Callable[[Tensor], Tensor | None]) -> None:
        """Pass a module's first argument through `hook`."""

        def replace(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            value = hook(args[0])
            return None if value is None else (value, *args[1:])

        self.handles.append(module.register_forward_pre_hook(replace))

    def fire_if_wanted(self, name: str, value: Tensor) -> Tensor | None:
        """Fire a name if it is wanted."""
        return self.fire(name, value) if name in self.wanted else None

    def on_output(self, module: nn.Module, name: str) -> None:
        """Fire a module's output."""
        if name in self.wanted:
            self.after(module, lambda _, args, output: self.fire(name, output))

    def on_norm(
        self,
        module: nn.Module,
        parameters: Callable[[nn.Module], "NormParameters"],
        scale_name: str,
        normalized_name: str,
    ) -> None:
        """Fire the scale of a norm and what it makes before gain and bias; `parameters` reads them off the module."""
        if not self.wanted & {scale_name, normalized_name}:
            return

        def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
            norm, stream = parameters(module), args[0].float()
            centred = stream - stream.mean(-1, keepdim=True) if norm.centres else stream
            scale = (centred.square().mean(-1, keepdim=True) + norm.epsilon).sqrt().to(args[0].dtype)
            new_scale = self.fire_if_wanted(scale_name, scale)
            normalized = centred.to(scale.dtype) / (scale if new_scale is None else new_scale)
            new = self.fire_if_wanted(normalized_name, normalized)
            if new_scale is None and new is None:
                return None
            scaled = (normalized if new is None else new) * norm.weight
            return scaled if norm.bias is None else scaled + norm.bias

        self.after(module, hook)


@dataclass(frozen=True, eq=False)
class NormParameters:
    """What a LayerNorm or an RMSNorm computes with.

    Attributes:
        epsilon: what is added to the variance.
        weight: the gain, `[d_model]`.
        bias: the bias, `[d_model]`; None where there is none.
        centres: whether the mean is taken off first, as LayerNorm does and RMSNorm doesn't.
    """

    epsilon: float
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None
    centres: bool


def layer_norm_parameters(module: nn.Module) -> NormParameters:
    """Those of the LayerNorm in force; see `layer_norm`."""
    norm = layer_norm(module)
    return NormParameters(norm.eps, norm.weight, norm.bias, centres=True)


def has_no_hooks(module: nn.Module) -> bool:
    """Whether no hook could change what a module, or what is in it, computes."""
    return all(
        only_listens(hook)
        for part in module.modules()
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    )


def layer_norm(module: Any) -> nn.LayerNorm:
    """The LayerNorm in force: the module itself, or the active copy in a wrapper such as peft's."""
    if isinstance(module, nn.LayerNorm):
        return module
    copies = getattr(module, "modules_to_save", None)
    norms = (
        [copies[name] for name in module.active_adapters] if copies is not None else list(module.children())
    )
    found = [norm for norm in norms if isinstance(norm, nn.LayerNorm)]
    if not found:
        raise ValueError(f"no LayerNorm inside {type(module).__name__}: headwatch can't read its scale")
    return found[0]


def per_head_output(
    projection: nn.Module, z: Float[Tensor, "batch pos head d_head"]
) -> tuple[Float[Tensor, "batch pos head d_model"], Float[Tensor, " d_model"]]:
    """What each head adds to the stream, and what is added whatever the heads do (the bias)."""
    own = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)[:, :, None]
    alone = (z.unsqueeze(2) * own).flatten(3)
    # forward, not __call__: this may run inside the projection's own hooks.
    bias = projection.forward(torch.zeros_like(alone[:1, :1, 0]))[0, 0]
    return projection.forward(alone) - bias, bias
