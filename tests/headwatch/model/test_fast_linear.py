"""The kernels that stand in for calls of a projection give what the calls give, and stand aside where they can't."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from headwatch.model import fast_linear as projections
from headwatch.model.fast_linear import is_plain, project, project_gelu, project_onto, project_some


class Doubled(nn.Module):
    """A wrapper, as an adapter is one."""

    def __init__(self, inner: Conv1D) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


def conv(dtype=torch.float32) -> Conv1D:
    module = Conv1D(24, 8).to(dtype)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module


def strided() -> Conv1D:
    module = conv()
    module.weight.data = module.weight.data.t().contiguous().t()
    return module


def written_out(module, x):
    inner = module.inner if isinstance(module, Doubled) else module
    out = x.double() @ inner.weight.double() + inner.bias.double()
    return 2 * out if isinstance(module, Doubled) else out


MODULES = {
    "plain": conv,
    "wrapped": lambda: Doubled(conv()),
    "strided": strided,
    "float64": lambda: conv(torch.float64),
    "bfloat16": lambda: conv(torch.bfloat16),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 4, 8), (5, 0, 8)])
@torch.no_grad()
def test_every_projection_gives_what_its_weights_say(name, shape):
    torch.manual_seed(0)
    module = MODULES[name]()
    dtype = next(module.parameters()).dtype
    x, stream = torch.randn(shape).to(dtype), torch.randn(*shape[:-1], 24).to(dtype)
    expected = written_out(module, x)
    close = {
        "atol": 0.1 if dtype == torch.bfloat16 else 1e-5,
        "rtol": 0.02 if dtype == torch.bfloat16 else 1e-5,
    }
    some = slice(8, 24)
    for actual, truth in (
        (project(module, x), expected),
        (project_some(module, x, some), expected[..., some]),
        (project_gelu(module, x), nn.functional.gelu(expected, approximate="tanh")),
        (project_onto(stream, module, x), stream.double() + expected),
    ):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.double(), truth, **close)


@torch.no_grad()
def test_a_hook_on_a_projection_keeps_its_effect():
    module, x, stream = conv(), torch.randn(3, 8), torch.randn(3, 24)
    handle = module.register_forward_hook(lambda module, args, output: torch.ones_like(output))
    assert not is_plain(module)
    assert torch.equal(project(module, x), torch.ones(3, 24))
    assert torch.equal(project_some(module, x, slice(0, 8)), torch.ones(3, 8))
    assert torch.equal(project_onto(stream, module, x), stream + 1)
    handle.remove()
    assert is_plain(module)


def test_gradients_flow_where_they_are_wanted():
    module, x = conv(), torch.randn(3, 8, requires_grad=True)
    (project(module, x).sum() + project_onto(torch.zeros(3, 24), module, x).sum()).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * module.weight.sum(1).expand(3, 8))


@torch.no_grad()
def test_autocast_decides_the_precision():
    module, x = conv(), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert project(module, x).dtype == torch.bfloat16
        assert project_some(module, x, slice(0, 8)).dtype == torch.bfloat16


@torch.no_grad()
def test_works_where_torch_has_no_such_kernel(monkeypatch):
    module, x = conv(), torch.randn(3, 8)
    expected = project(module, x), project_some(module, x, slice(0, 8)), project_gelu(module, x)
    monkeypatch.setattr(projections, "_FUSED", None)
    actual = project(module, x), project_some(module, x, slice(0, 8)), project_gelu(module, x)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)
