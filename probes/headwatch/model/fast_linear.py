"""What a model's projections compute, by the quickest kernel that gives the same: most of a sweep's time is here.

On a CPU, oneDNN multiplies such matrices faster than the BLAS behind `torch.addmm`, and adds the bias, the
activation function or the residual stream before the product leaves the cache (the project's benchmarks have
figures). Whatever is not exactly PyTorch's `Linear` or Hugging Face's `Conv1D`, without hooks, outside
autocast, is called as it stands.
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


def is_plain(module: nn.Module) -> TypeGuard[Conv1D | nn.Linear]:
    """Whether a projection is PyTorch's or Hugging Face's own, so that its weight says what a call would."""
    return (
        type(module) in (Conv1D, nn.Linear)
        and has_no_hooks(module)
        and not torch.is_autocast_enabled(_weight(module).device.type)
    )


def project(module: nn.Module, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
    """`module(x)`."""
    return _fused(x, _by_output(module), module.bias) if _fuses(module, x) else module(x)


def project_some(
    module: nn.Module, x: Float[Tensor, "*n inputs"], outputs: slice
) -> Float[Tensor, "*n some"]:
    """Some columns of `module(x)`, computed alone where the module allows it."""
    if not is_plain(module):
        return module(x)[..., outputs]
    by_output = _by_output(module)[outputs]
    bias = None if module.bias is None else module.bias[outputs]
    if _fuses(module, x):
        # A copy of some columns, since oneDNN has no quick kernel for a slice of them.
        return _fused(x, by_output if by_output.is_contiguous() else by_output.t().contiguous().t(), bias)
    return nn.functional.linear(x, by_output, bias)


def project_gelu(module: nn.Module, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
    """GELU, in its tanh form, of `module(x)`."""
    if _fuses(module, x):
        return _fused(x, _by_output(module), module.bias, "gelu", "tanh")
    return torch.ops.aten.gelu_(module(x), approximate="tanh")


def project_onto(
    stream: Float[Tensor, "*n outputs"], module: nn.Module, x: Float[Tensor, "*n inputs"]
) -> Float[Tensor, "*n outputs"]:
    """`stream + module(x)`."""
    if _fuses(module, x) and stream.dtype == x.dtype:
        return _FUSED.binary(x, stream, _by_output(module), module.bias, "add")
    return stream + module(x)


def write_parts(
    module: nn.Module,
    values: Float[Tensor, "*n part d_part"],
    chosen: tuple[int, ...],
    n_parts: int,
) -> Float[Tensor, "part *n outputs"]:
    """What some parts of a projection's input, each alone, add to its output, without the bias.

    Args:
        module: a projection whose input is `n_parts` parts of one length, one after the other.
        values: the parts that are chosen.
        chosen: which parts these are.
        n_parts: how many there are.
    """
    by_part = values.movedim(-2, 0)
    if is_plain(module):
        weight = _by_output(module).t().unflatten(0, (n_parts, -1))[list(chosen)]
        if values.shape[-1] == 1:
            return by_part * weight.view(len(chosen), *[1] * (by_part.ndim - 2), -1)
        return torch.bmm(by_part.flatten(1, -2), weight).view(*by_part.shape[:-1], -1)
    alone = values.new_zeros(len(chosen), *values.shape[:-2], n_parts, values.shape[-1])
    for row, part in enumerate(chosen):
        alone[row, ..., part, :] = by_part[row]
    return module(alone.flatten(-2)) - module(torch.zeros_like(alone[0].flatten(-2)))


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight


def _by_output(module: nn.Module) -> Float[Tensor, "outputs inputs"]:
    """The weight as PyTorch's `Linear` has it; `Conv1D` keeps its transpose."""
    return _weight(module).t() if isinstance(module, Conv1D) else _weight(module)


def _fuses(module: nn.Module, x: Tensor) -> TypeGuard[Conv1D | nn.Linear]:
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


def _fused(x: Tensor, by_output: Tensor, bias: Tensor | None, then: str = "none", form: str = "") -> Tensor:
    return _FUSED(x, by_output, bias, then, [], form)
