"""Attention maps on one prompt, drawn with matplotlib: a small map a head, queries down, keys across."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from headwatch.pictures.colours import FAINT, INK, LINE, SEQUENTIAL
from headwatch.pictures.heat_map import colour_map, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELLED = 24  # tokens that can be read beside a map
_FEW = 4  # maps with room for tokens


def draw(
    maps: Float[np.ndarray, "row column query key"], tokens: Sequence[str], names: Sequence[Sequence[str]]
) -> "Figure":
    """Draw a grid of maps; a few have the tokens beside them.

    Colour is the square root of the weight, 0 white to 1 dark, which keeps weights of a few per cent visible; keys
    after the query, which no head can see, are grey.

    Args:
        maps: attention weights.
        tokens: the prompt's tokens.
        names: what stands above each map, `[row][column]`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    rows, columns = maps.shape[:2]
    side = float(np.clip(14 / max(rows, columns), 0.9, 5.5))
    figure, grid = pyplot().subplots(
        rows, columns, figsize=(columns * side + 0.6, rows * side + 0.7), squeeze=False, layout="constrained"
    )
    words = [_shown(token) for token in tokens] if rows * columns <= _FEW else []
    for place in np.ndindex(rows, columns):
        _draw_one(grid[place], maps[place], names[place[0]][place[1]], words)
    note = "query down, key across; colour: square root of the weight, 0 white to 1 dark"
    figure.supxlabel(note, fontsize=8, color=FAINT)
    return figure


def _draw_one(axes: "Axes", weights: Float[np.ndarray, "query key"], name: str, words: list[str]) -> None:
    future = np.triu(np.ones(weights.shape, dtype=bool), 1)
    shown = np.ma.masked_where(future, np.sqrt(weights))
    colours = colour_map(SEQUENTIAL).with_extremes(bad="#eeeeee")
    axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(name, fontsize=9, color=INK, pad=3, parse_math=False)
    axes.tick_params(length=0)
    at = [*range(len(words))] if len(words) <= _MOST_LABELLED else []
    axes.set_xticks(at, [words[i] for i in at], fontsize=8, rotation=90, parse_math=False)
    axes.set_yticks(at, [words[i] for i in at], fontsize=8, parse_math=False)
    for edge in axes.spines.values():
        edge.set_color(LINE)


def _shown(token: str) -> str:
    """A token as one line of text that the font can draw."""
    text = token.replace("\n", "↵").replace("\t", "→").replace(" ", "·")
    drawable = _drawable()
    return "".join(sign if ord(sign) in drawable else "□" for sign in text)


def _drawable() -> Any:
    """The code points that matplotlib's own font has."""
    from matplotlib.font_manager import findfont, get_font

    return get_font(findfont("DejaVu Sans")).get_charmap()
