"""How a cell of a result is called: `L9H6` for head 6 of layer 9, wherever it is shown.

A result's axes have names (`dims`) and each axis has places (`coords`): the layers, heads, neurons, positions or
sets of heads that were intervened on, which are those that the model counts and not 0, 1, 2, ...
"""

from collections.abc import Mapping, Sequence

Head = tuple[int, int]
Place = int | tuple[Head, ...]
Coords = Mapping[str, tuple[Place, ...]]

LETTERS = {"layer": "L", "head": "H", "position": "P", "neuron": "N"}


def cell_name(dims: Sequence[str], places: Sequence[Place]) -> str:
    """The name of the cell at these places of these axes.

    >>> cell_name(("layer", "head"), (9, 6))
    'L9H6'
    >>> cell_name(("set",), (((9, 6), (10, 0)),))
    'L9H6+L10H0'
    """
    return "".join(place_name(dim, place) for dim, place in zip(dims, places, strict=True))


def places_at(coords: Coords, index: Sequence[int]) -> tuple[Place, ...]:
    """The layer, head and so on that an index stands for, in the order of the axes.

    >>> places_at({"layer": (9, 10), "head": (0, 6)}, (0, 1))
    (9, 6)
    """
    return tuple(places[at] for places, at in zip(coords.values(), index, strict=True))


def place_name(dim: str, place: Place) -> str:
    """The name of one place of one axis: `L9`, `P3`; a set of heads is called by its heads."""
    if isinstance(place, tuple):
        return "+".join(cell_name(("layer", "head"), head) for head in place)
    return f"{LETTERS.get(dim, dim)}{place}"


def how_many(n: int, what: str) -> str:
    """A number of things in words.

    >>> how_many(1, "layer"), how_many(12, "head")
    ('1 layer', '12 heads')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def counted(dims: Sequence[str], shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Coordinates of axes that hold every place from 0 on."""
    return {dim: tuple(range(size)) for dim, size in zip(dims, shape, strict=True)}
