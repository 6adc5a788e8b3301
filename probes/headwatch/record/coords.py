"""What the places along an axis are, such as `{"neuron": (200, 201)}`.

A line has them only for an axis that does not count from 0.
"""

from collections.abc import Sequence
from typing import Any

from headwatch.cell_names import Coords, Place, counted
from headwatch.record.fields import Fields


def coords_to_json(coords: Coords) -> dict[str, Any]:
    """The axes whose places are not 0, 1, 2, ...; nothing for most passes."""
    return {axis: places for axis, places in coords.items() if places != tuple(range(len(places)))}


def coords_from_json(line: Fields, dims: Sequence[str], shape: Sequence[int]) -> Coords:
    """The places of every axis; an axis that the line doesn't name counts from 0, as do all axes of a format 1 line.

    Raises:
        ValueError: an axis that `dims` hasn't got, or another number of places than `shape` says.
    """
    named = Fields({}) if line.is_null("coords") else line.nested("coords")
    unknown = [axis for axis in named.keys if axis not in dims]
    if unknown:
        raise ValueError(f"'coords' names the axis {unknown[0]!r}, 'dims' has {list(dims)}")
    return {axis: _places(named, axis, size) for axis, size in zip(dims, shape, strict=True)}


def _places(named: Fields, axis: str, size: int) -> tuple[Place, ...]:
    if named.is_null(axis):
        return counted((axis,), (size,))[axis]
    places = named.pair_lists(axis) if axis == "set" else named.integers(axis)
    if len(places) != size:
        raise ValueError(f"'coords' has {len(places)} places on the axis {axis!r}, 'shape' has {size}")
    return places
