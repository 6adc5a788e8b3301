"""A map with one cell a head, drawn with matplotlib, which is needed for nothing else here."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from headwatch.pictures.cell_map import NO_NUMBER, SUSPECT, CellMap
from headwatch.pictures.colours import (
    DIVERGING,
    FAINT,
    INK,
    MISSING,
    PAPER,
    SEQUENTIAL,
    diverging,
    ink_on,
    largest,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 26  # on one axis
_MOST_SEPARATE = 48  # rows or columns with a line between them


def draw(shown: CellMap, *, title: str, unit: str, ax: "Axes | None" = None, signed: bool = True) -> "Axes":
    """Draw a map: colour for the value, with 0 in the middle; a dot where it is significant; stripes where its interval
    is not to be trusted; a cross where it is no number.

    Args:
        shown: what to draw.
        title: what stands above.
        unit: what a value is; stands beside the colours.
        ax: where to draw; None for a new figure.
        signed: colours from blue through white at 0 to red; otherwise from 0 up.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    axes = new_axes(shown.values.shape) if ax is None else ax
    limit = largest(shown.values) or 1.0
    image = axes.imshow(
        shown.values,
        cmap=colour_map(DIVERGING if signed else SEQUENTIAL),
        vmin=-limit if signed else 0.0,
        vmax=limit,
        aspect="auto" if max(shown.values.shape) >= 3 * min(shown.values.shape) else "equal",
        interpolation="nearest",
    )
    _label_axes(axes, shown)
    _hatch(axes, shown, limit)
    _mark(axes, shown, limit)
    _cross(axes, shown)
    axes.set_title(title, fontsize=10, color=INK, parse_math=False)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(unit, fontsize=9, color=FAINT, parse_math=False)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return axes


def draw_scores(maps: Sequence[CellMap]) -> "Figure":
    """Draw several scores side by side, three a row, each with a scale of its own from 0 up.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    columns = min(len(maps), 3)
    rows = -(-len(maps) // columns)
    size = (4.4 * columns, 3.6 * rows)
    figure, grid = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, shown in zip_longest(grid.flat, maps):
        if shown is None:
            axes.set_axis_off()
        else:
            draw(shown, title=shown.name.replace("_", " "), unit="", ax=axes, signed=False)
    return figure


def new_axes(shape: tuple[int, ...]) -> "Axes":
    """Axes in a figure of their own, which suits so many rows and columns."""
    rows, columns = shape
    side = float(np.clip(6 / max(rows, columns), 0.15, 0.42))
    size = (float(np.clip(side * columns + 1.9, 4.8, 12)), float(np.clip(side * rows, 1.2, 12)) + 1.7)
    return pyplot().subplots(figsize=size, layout="constrained")[1]


def pyplot() -> Any:
    """matplotlib's pyplot.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'headwatch[plot]'") from error
    return plt


def colour_map(anchors: str) -> Any:
    """matplotlib's colour map through these colours; grey where a value is NaN."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("headwatch", anchors.split()).with_extremes(bad=MISSING)


def _label_axes(axes: "Axes", shown: CellMap) -> None:
    for axis, labels in ((axes.yaxis, shown.labels(0)), (axes.xaxis, shown.labels(1))):
        every = -(-len(labels) // _MOST_LABELS)
        at = range(0, len(labels), every)
        axis.set_ticks([*at], [labels[place] for place in at], fontsize=8)
    axes.set_ylabel(shown.dims[0], color=FAINT, fontsize=9)
    below = [shown.dims[1]] if len(shown.dims) > 1 else []
    if shown.note:
        below.append(shown.note)
    if _any(shown.significant):
        below.append(f"● significant: {shown.marks}".replace(" over", "\nover"))
    if _any(shown.suspect):
        below.append(SUSPECT)
    if _any(shown.no_number):
        below.append(NO_NUMBER)
    axes.set_xlabel("\n".join(below), color=FAINT, fontsize=8)
    axes.tick_params(length=0)
    if max(shown.values.shape) <= _MOST_SEPARATE:
        axes.set_xticks(np.arange(1, shown.values.shape[1]) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, shown.values.shape[0]) - 0.5, minor=True)
        axes.grid(which="minor", color=PAPER, linewidth=1)
        axes.tick_params(which="minor", length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _hatch(axes: "Axes", shown: CellMap, limit: float) -> None:
    """Stripes over the cells whose intervals are not to be trusted."""
    from matplotlib.patches import Rectangle

    if shown.suspect is None:
        return
    for row, column in np.argwhere(shown.suspect):
        ink = ink_on(diverging(shown.values[row, column : column + 1], limit)[0])
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(
            Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor=ink, linewidth=0, alpha=0.5)
        )


def _cross(axes: "Axes", shown: CellMap) -> None:
    """Crosses over the cells that are no numbers."""
    rows, columns = np.nonzero(shown.no_number)
    axes.plot(columns, rows, linestyle="", marker="x", color=INK, scalex=False, scaley=False)


def _any(flags: np.ndarray | None) -> bool:
    return flags is not None and bool(flags.any())


def _mark(axes: "Axes", shown: CellMap, limit: float) -> None:
    if shown.significant is None or not shown.significant.any():
        return
    rows, columns = np.nonzero(shown.significant)
    colours = [ink_on(colour) for colour in diverging(shown.values[rows, columns], limit)]
    size = 12 if max(shown.values.shape) <= 24 else 3
    axes.scatter(columns, rows, s=size, c=colours, linewidths=0)
