"""A fingerprint tells any two sets of weights apart."""

import pytest
import torch
from torch import nn

from headwatch_callbacks.checkpoints.fingerprint import fingerprint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_fingerprint_sees_any_one_weight_and_nothing_else(dtype):
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1)).to(dtype)
    before = fingerprint(model)
    assert fingerprint(model) == before
    for weight in model.parameters():
        for place in range(weight.numel()):
            kept = weight.data.view(-1)[place].clone()
            weight.data.view(-1)[place] = torch.nan
            assert fingerprint(model) == fingerprint(model) != before
            weight.data.view(-1)[place] = kept
    assert fingerprint(model) == before
