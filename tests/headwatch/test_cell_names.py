import pytest

from headwatch.cell_names import cell_name, counted, place_name


@pytest.mark.parametrize(
    ("dims", "places", "name"),
    [
        (("layer", "head"), (9, 6), "L9H6"),
        (("layer", "head", "position"), (0, 11, 3), "L0H11P3"),
        (("layer", "neuron"), (2, 3071), "L2N3071"),
        (("layer",), (4,), "L4"),
        (("set",), (((9, 6), (10, 0)),), "L9H6+L10H0"),
        (("stage",), (2,), "stage2"),
    ],
)
def test_a_cell_is_called_by_its_places(dims, places, name):
    assert cell_name(dims, places) == name


def test_a_name_needs_a_place_on_every_axis():
    with pytest.raises(ValueError, match="shorter"):
        cell_name(("layer", "head"), (1,))


def test_a_place_alone():
    assert place_name("neuron", 7) == "N7"


def test_axes_without_chosen_places_hold_all_from_0_on():
    assert counted(("layer", "head"), (2, 3)) == {"layer": (0, 1), "head": (0, 1, 2)}
