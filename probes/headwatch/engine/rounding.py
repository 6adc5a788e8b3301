"""How far two right ways of computing the same may part: by rounding alone, in the precision that a model runs in."""

from typing import Any

import torch
from torch import Tensor, nn

# As a share of the largest value: some ten times what two right ways were seen to differ by in float32 (2e-6), over
# models, kernels and threads, and three to five times in half precision (2e-3 and 1.5e-2). What runs in float64 may
# hold parts in float32.
_SHARE = {torch.float64: 1e-6, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# TensorFloat-32 keeps as many digits as float16.
_PRODUCTS = {"tf32": torch.float16, "high": torch.float16, "bf16": torch.bfloat16, "medium": torch.bfloat16}


def allowed_gap(model: nn.Module) -> float:
    """The share of the largest value by which two right ways of running a model may differ."""
    device = next(model.parameters()).device.type
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if torch.is_autocast_enabled(device):
        dtypes.add(torch.get_autocast_dtype(device))
    dtypes.add(_PRODUCTS.get(_products_of_float32(device), torch.float64))
    return max(_SHARE.get(dtype, _SHARE[torch.bfloat16]) for dtype in dtypes)


def _products_of_float32(device: str) -> str:
    """How float32 matrices are multiplied; torch before 2.9 knows one word for all devices."""
    backend: Any = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    precision: str | None = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    return torch.get_float32_matmul_precision() if precision is None else precision


def gap(actual: Tensor, expected: Tensor) -> Tensor:
    """How far values are apart, one by one; 0 where both are the same infinity or both no number."""
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    return (actual - expected).abs().masked_fill(same, 0).nan_to_num(torch.inf)


def largest(values: Tensor) -> float:
    """The largest finite value, by its size."""
    return values.abs().nan_to_num(0, 0, 0).max().item()
