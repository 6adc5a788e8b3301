"""What a model's projections compute, by the quickest kernel that gives the same: most of a sweep's time is here.

On a CPU, oneDNN multiplies such matrices faster than the BLAS behind `torch.addmm`, and adds the bias, the
activation function or the residual stream before the product leaves the cache (the project's benchmarks
have figures). Whatever is not exactly Hugging Face's `Conv1D`, without hooks, outside autocast, is called as it stands.
"""

from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headwatch.model.torch_hooks import has_no_hooks

_FUSED: Any = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)


def is_plain(module: nn.Module) -> TypeGuard[Conv1D]:
    """Whether a projection is Hugging Face's own, so that a slice of its weight says what a call would."""
    return (
        type(module) is Conv1D
        and has_no_hooks(module)
        and not torch.is_autocast_enabled(module.weight.device.type)
    )


def project(module: nn.Module, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
    """`module(x)`."""
    return _fused(x, module.weight, module.bias) if _fuses(module, x) else module(x)


def project_some(
    module: nn.Module, x: Float[Tensor, "*n inputs"], outputs: slice
) -> Float[Tensor, "*n some"]:
    """Some columns of `module(x)`, computed alone where the module allows it."""
    if not is_plain(module):
        return module(x)[..., outputs]
    weight, bias = module.weight[:, outputs], module.bias[outputs]
    if _fuses(module, x):
        # A copy, since oneDNN has no quick kernel for a slice.
        return _fused(x, weight.contiguous(), bias)
    return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], len(bias))


def project_gelu(module: nn.Module, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
    """GELU, in its tanh form, of `module(x)`."""
    if _fuses(module, x):
        return _fused(x, module.weight, module.bias, "gelu", "tanh")
    return torch.ops.aten.gelu_(module(x), approximate="tanh")


def project_onto(
    stream: Float[Tensor, "*n outputs"], module: nn.Module, x: Float[Tensor, "*n inputs"]
) -> Float[Tensor, "*n outputs"]:
    """`stream + module(x)`."""
    if _fuses(module, x) and stream.dtype == x.dtype:
        return _FUSED.binary(x, stream, module.weight.t(), module.bias, "add")
    return stream + module(x)


def _fuses(module: nn.Module, x: Tensor) -> TypeGuard[Conv1D]:
    """Whether oneDNN may stand in for a call: its kernels have no gradient, and are slow on strided weights."""
    return (
        _FUSED is not None
        and is_plain(module)
        and x.device.type == "cpu"
        and x.dtype == module.weight.dtype == torch.float32
        and module.weight.is_contiguous()
        and not torch.is_grad_enabled()
        and bool(torch.backends.mkldnn.enabled)
    )


def _fused(x: Tensor, weight: Tensor, bias: Tensor, then: str = "none", form: str = "") -> Tensor:
    return _FUSED(x, weight.t(), bias, then, [], form)
