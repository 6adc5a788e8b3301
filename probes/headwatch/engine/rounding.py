"""How far two right ways of computing the same may part: by rounding alone, in the precision that a model runs in."""

import torch
from torch import Tensor, nn

# As a share of the largest value, some ten times what was seen over models, kernels and threads.
_SHARE = {torch.float64: 1e-6, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def allowed_gap(model: nn.Module) -> float:
    """The share of the largest value by which two runs of a model may differ."""
    device = next(model.parameters()).device.type
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if torch.is_autocast_enabled(device):
        dtypes.add(torch.get_autocast_dtype(device))
    elif torch.get_float32_matmul_precision() != "highest":
        # TensorFloat-32 rounds as float16 does.
        dtypes.add(torch.float16 if torch.get_float32_matmul_precision() == "high" else torch.bfloat16)
    return max(_SHARE.get(dtype, _SHARE[torch.bfloat16]) for dtype in dtypes)


def gap(actual: Tensor, expected: Tensor) -> Tensor:
    """How far values are apart, one by one; 0 where both are the same infinity or both no number."""
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    return (actual - expected).abs().masked_fill(same, 0).nan_to_num(torch.inf)


def largest(values: Tensor) -> float:
    """The largest finite value, by its size."""
    return values.abs().nan_to_num(0, 0, 0).max().item()
