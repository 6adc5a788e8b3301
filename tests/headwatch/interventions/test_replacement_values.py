"""What interventions write: means that lose no digits."""

import torch

from headwatch.interventions.sites import get_site, replacement
from tests.models import random_pairs


def test_means_are_added_up_in_double_precision():
    """Values whose sum outgrows float32: 2²⁵, then ones, of which float32 would lose every other."""
    pairs = random_pairs(8, 5)
    value = torch.ones(8, 5, 2, 3)
    value[0, 0] = 2.0**25

    def run(ids, mask, names):
        rows = [int((pairs.clean == one).all(1).int().argmax()) for one in ids]
        return dict.fromkeys(names, value[rows])

    found = replacement("mean", pairs, get_site("z"), (0, 1), run, batch_size=1)
    assert found.fixed is not None
    expected = torch.tensor((2.0**25 + 39) / 40, dtype=torch.float64).float()
    for layer in (0, 1):
        assert found.fixed[layer].eq(expected).all()
    by_position = replacement("position_mean", pairs, get_site("z"), (0,), run, batch_size=1)
    assert by_position.fixed is not None
    expected = torch.tensor((2.0**25 + 7) / 8, dtype=torch.float64).float()
    assert by_position.fixed[0][0, 0].eq(expected).all()
    assert by_position.fixed[0][0, 1:].eq(1).all()
