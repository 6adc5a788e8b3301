import numpy as np
import pytest

from headwatch.pictures.colours import diverging, ink_on, largest, sequential


def test_the_diverging_scale_is_white_at_zero_blue_below_and_red_above():
    below, zero, above, missing = diverging(np.array([-2.0, 0.0, 2.0, np.nan]), limit=2.0)
    assert below.tolist() == [0x05, 0x30, 0x61]
    assert np.abs(zero.astype(int) - 0xF7).max() <= 1
    assert above.tolist() == [0x67, 0x00, 0x1F]
    assert missing.tolist() == [0xB4, 0xB4, 0xB4]


def test_values_beyond_the_limit_get_the_colour_of_the_end():
    assert diverging(np.array([5.0]), 2.0).tolist() == diverging(np.array([2.0]), 2.0).tolist()
    assert sequential(np.array([5.0]), 2.0).tolist() == sequential(np.array([2.0]), 2.0).tolist()


def test_sequential_darkens_from_zero_up():
    brightness = sequential(np.linspace(0, 1, 9), 1.0).astype(int).sum(1)
    assert (np.diff(brightness) < 0).all()


@pytest.mark.parametrize("scale", [diverging, sequential])
def test_an_all_zero_map_is_drawn_white_rather_than_dividing_by_zero(scale):
    assert scale(np.zeros(3), 0.0).min() >= 0xF6


def test_largest_skips_what_is_not_finite():
    assert largest(np.array([1.0, -3.0, np.nan, np.inf])) == 3.0
    assert largest(np.array([np.nan])) == 0.0


def test_ink_can_be_read_on_every_colour():
    for colour in diverging(np.linspace(-1, 1, 21), 1.0):
        ink = int(ink_on(colour)[1:3], 16)
        assert abs(ink - colour.mean()) > 80
