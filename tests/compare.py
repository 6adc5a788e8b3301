"""How tests compare numbers with those that were worked out in another way."""

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from headwatch.effects import Effects


def close(actual: Tensor, expected: object, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """A tensor has the expected numbers, in float64."""
    np.testing.assert_allclose(actual.double().numpy(), np.asarray(expected), rtol=rtol, atol=atol)


def tensors_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """A tensor is the expected one, of the same shape and dtype, to within a relative or absolute tolerance."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def effects_are(effects: Effects | Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Effects per pair, and their mean, are the expected ones, of which some are not 0.

    Args:
        effects: a result, or effects per pair.
        expected: effects per pair in float64.
        tolerance: relative to the largest effect, or to 1 where that is smaller.
    """
    per_pair = effects.per_pair if isinstance(effects, Effects) else effects
    assert per_pair.shape == expected.shape
    assert expected.abs().max() > 1e-2, "the interventions do nothing: a bad test"
    atol = tolerance * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(per_pair.double(), expected, rtol=0, atol=atol)
    if isinstance(effects, Effects):
        torch.testing.assert_close(effects.mean.double(), expected.mean(0), rtol=0, atol=atol)


def effects_are_identical(one: Effects, other: Effects, but_for: tuple[str, ...] = ()) -> None:
    """Two results have the same in every field (but for some), and in the same bits."""
    for each in (field for field in fields(Effects) if field.name not in but_for):
        before, after = getattr(one, each.name), getattr(other, each.name)
        if isinstance(before, Tensor):
            assert after.dtype == before.dtype, each.name
            size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[before.element_size()]
            assert torch.equal(before.contiguous().view(size), after.view(size)), each.name
        else:
            assert after == before, each.name
            assert type(after) is type(before), each.name
