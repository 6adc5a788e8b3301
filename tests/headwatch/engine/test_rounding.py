"""How far two right ways of computing the same may part."""

import pytest
import torch

from headwatch.engine.rounding import allowed_gap, gap, largest
from tests.models import tiny_gpt2


@pytest.mark.parametrize(
    ("dtype", "most"),
    [(torch.float64, 1e-6), (torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 6e-2)],
)
def test_the_allowed_gap_is_that_of_the_coarsest_precision(dtype, most):
    model = tiny_gpt2().to(dtype)
    assert torch.finfo(dtype).eps < allowed_gap(model) <= most
    exact = allowed_gap(tiny_gpt2())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert allowed_gap(tiny_gpt2()) > 100 * exact
    model.transformer.h[0].bfloat16()
    assert allowed_gap(model) > 100 * exact


@pytest.mark.parametrize("setting", ["high", "medium", "tf32", "bf16"])
def test_coarse_products_of_float32_are_allowed_their_rounding(setting):
    """Set by either of torch's ways; asking by the one after setting by the other is an error."""
    exact, products = allowed_gap(tiny_gpt2()), torch.backends.mkldnn.matmul
    if setting in ("high", "medium"):
        torch.set_float32_matmul_precision(setting)
    elif not hasattr(products, "fp32_precision"):
        pytest.skip("torch before 2.9 has one setting for all devices")
    else:
        products.fp32_precision = setting
    try:
        assert allowed_gap(tiny_gpt2()) > 100 * exact
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_gap_between_numbers_that_are_none():
    nan, inf = torch.nan, torch.inf
    found = gap(torch.tensor([nan, inf, -inf, nan, 1.0, 1.0]), torch.tensor([nan, inf, inf, 1.0, nan, 3.0]))
    assert found[:2].tolist() == [0, 0]
    assert (found[2:5] > 1e30).all()
    assert found[5] == 2
    assert largest(torch.tensor([nan, -3.0, inf, 2.0])) == 3
