"""Attention maps on one prompt, drawn with matplotlib: a small map a head, queries down, keys across."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from headwatch.pictures.colours import FAINT, INK, LINE, MISSING, SEQUENTIAL
from headwatch.pictures.heat_map import colour_map, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# In inches: the side of a single map, the line that a token takes beside it, and the width of one of its letters.
_LARGEST, _LINE, _LETTER = 5.5, 10 / 72, 0.07


def draw(
    maps: Float[np.ndarray, "row column query key"], tokens: Sequence[str], names: Sequence[Sequence[str]]
) -> "Figure":
    """Draw a grid of maps; at its left and its lower edge stand the tokens, where a map is as long as they are.

    Colour is the square root of the weight, 0 white to 1 dark, which keeps weights of a few per cent visible; keys
    after the query, which no head can see, are light grey; weights that are no numbers are dark grey.

    Args:
        maps: attention weights.
        tokens: the prompt's tokens.
        names: what stands above each map, `[row][column]`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    rows, columns = maps.shape[:2]
    side = float(np.clip(14 / max(rows, columns), 0.9, _LARGEST))
    lines = len(tokens) * _LINE
    words = [_shown(token) for token in tokens] if lines <= side else []
    beside = _LETTER * max(map(len, words), default=0)
    size = (columns * side + 0.6 + beside, rows * side + 0.7 + beside)
    figure, grid = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for row, column in np.ndindex(rows, columns):
        axes = grid[row, column]
        _draw_one(axes, maps[row, column], names[row][column])
        _label(axes.yaxis, words if column == 0 else [])
        _label(axes.xaxis, words if row == rows - 1 else [], rotation=90)
    note = "query down, key across; colour: square root of the weight, 0 white to 1 dark"
    more = "; a few heads= have room for the tokens" if side < lines <= _LARGEST else ""
    more += "; dark grey: no number" if np.isnan(maps).any() else ""
    figure.supxlabel(note + more, fontsize=8, color=FAINT)
    return figure


def _draw_one(axes: "Axes", weights: Float[np.ndarray, "query key"], name: str) -> None:
    from matplotlib.colors import ListedColormap

    future = np.triu(np.ones(weights.shape, dtype=bool), 1)
    shown = np.ma.masked_where(future, np.sqrt(weights))
    colours = colour_map(SEQUENTIAL).with_extremes(bad="#eeeeee")
    axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    if np.isnan(weights).any():
        nothing = np.ma.masked_where(future | ~np.isnan(weights), np.ones(weights.shape))
        axes.imshow(nothing, cmap=ListedColormap([MISSING]), interpolation="nearest")
    axes.set_title(name, fontsize=9, color=INK, pad=3, parse_math=False)
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_color(LINE)


def _label(axis: "Axis", words: list[str], rotation: int = 0) -> None:
    axis.set_ticks([*range(len(words))], words, fontsize=8, rotation=rotation, parse_math=False)


def _shown(token: str) -> str:
    """A token as one line of text that the font can draw."""
    text = token.replace("\n", "↵").replace("\t", "→").replace(" ", "·")
    drawable = _drawable()
    return "".join(sign if ord(sign) in drawable else "□" for sign in text)


def _drawable() -> Any:
    """The code points that matplotlib's own font has."""
    from matplotlib.font_manager import findfont, get_font

    return get_font(findfont("DejaVu Sans")).get_charmap()
