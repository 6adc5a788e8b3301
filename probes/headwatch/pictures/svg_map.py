"""A map with one cell a head as inline SVG, for notebooks: needs nothing installed, and says its numbers on hover."""

from html import escape

import numpy as np

from headwatch.pictures.cell_map import NO_NUMBER, SUSPECT, CellMap
from headwatch.pictures.colours import FAINT, INK, diverging, ink_on, largest

_TOP = 52
_MOST_CELLS = 4096  # beyond that a table of the strongest is shown
_TEXT = 'font-family="system-ui, sans-serif" font-size="11"'


def svg_map(shown: CellMap, *, title: str, unit: str) -> str:
    """The map as HTML: a coloured square a cell, a dot where it is significant, its numbers as a tooltip.

    Args:
        shown: what to draw; more than 4,096 cells become a table of the ten strongest.
        title: first line.
        unit: what a value is.
    """
    if shown.values.size > _MOST_CELLS:
        return _table(shown, title, unit)
    rows, columns = shown.values.shape
    side = int(np.clip(480 // max(rows, columns), 8, 30))
    left = 14 + 7 * max(len(label) for label in [shown.dims[0], *shown.labels(0)])
    width = max(left + columns * side + 10, 480)
    bottom = _TOP + rows * side
    caption = _caption(shown, unit)
    height = bottom + 14 + 16 * max(len(caption), 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {_TEXT}>',
        _text(4, 14, title, INK, "start"),
        *_axes(shown, side, left),
        *(_cell(shown, row, column, side, left) for row, column in np.ndindex(rows, columns)),
        *(_text(4, bottom + 18 + 16 * at, line, FAINT, "start") for at, line in enumerate(caption)),
        "</svg>",
    ]
    return "".join(parts)


def numbers_of(shown: CellMap, row: int, column: int) -> str:
    """A cell in words: its name, its value and its 95 % interval."""
    value = shown.values[row, column]
    words = f"{shown.cell_name(row, column)} {'NaN' if np.isnan(value) else f'{value:+.4g}'}"
    if shown.low is None or shown.high is None or np.isnan(shown.low[row, column]):
        return words
    ends = f"{shown.low[row, column]:+.3g} to {shown.high[row, column]:+.3g}"
    significant = ", significant" if shown.marked(row, column) else ""
    suspect = ", not to be trusted" if shown.is_suspect(row, column) else ""
    return f"{words}, 95 % interval {ends}{suspect}{significant}"


def _cell(shown: CellMap, row: int, column: int, side: int, margin: int) -> str:
    colour = diverging(shown.values[row, column : column + 1], largest(shown.values))[0]
    left, top = margin + column * side, _TOP + row * side
    fill = "#" + bytes(colour.tolist()).hex()
    tooltip = f"<title>{escape(numbers_of(shown, row, column))}</title>"
    square = (
        f'<rect x="{left}" y="{top}" width="{side - 1}" height="{side - 1}" fill="{fill}">{tooltip}</rect>'
    )
    if shown.no_number[row, column]:
        square += _cross(left, top, side - 1)
    if shown.is_suspect(row, column):
        square += _stripes(left, top, side - 1, ink_on(colour))
    if not shown.marked(row, column):
        return square
    return square + _dot(left + (side - 1) / 2, top + (side - 1) / 2, max(1.2, side / 11), ink_on(colour))


def _stripes(left: int, top: int, side: int, stroke: str) -> str:
    half = side / 2
    short = [f"M{x} {y}l{half} {-half}" for x, y in ((left, top + half), (left + half, top + side))]
    lines = "".join([*short, f"M{left} {top + side}l{side} {-side}"])
    return f'<path d="{lines}" stroke="{stroke}" stroke-opacity="0.5" fill="none" pointer-events="none"/>'


def _cross(left: int, top: int, side: int) -> str:
    x, y, far = left + side / 4, top + side / 4, side / 2
    falling = f'x1="{x}" y1="{y}" x2="{x + far}" y2="{y + far}"'
    rising = f'x1="{x}" y1="{y + far}" x2="{x + far}" y2="{y}"'
    return "".join(f'<line {ends} stroke="{INK}" pointer-events="none"/>' for ends in (falling, rising))


def _dot(x: int | float, y: int | float, radius: float, fill: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="{fill}" pointer-events="none"/>'


def _axes(shown: CellMap, side: int, left: int) -> list[str]:
    every = next(n for n in (1, 5, 10, 50, 100, 1000) if n * side >= 20)
    rows = [
        _text(left - 6, _TOP + (at + 0.5) * side + 4, label, INK, "end")
        for at, label in list(enumerate(shown.labels(0)))[::every]
    ]
    columns = [
        _text(left + (at + 0.5) * side, _TOP - 5, label, INK, "middle")
        for at, label in list(enumerate(shown.labels(1)))[::every]
    ]
    names = [_text(4, _TOP - 5, shown.dims[0], FAINT, "start")]
    if len(shown.dims) > 1:
        names.append(_text(left, _TOP - 18, shown.dims[1], FAINT, "start"))
    return [*rows, *columns, *names]


def _caption(shown: CellMap, unit: str) -> list[str]:
    limit = largest(shown.values)
    lines = [f"{unit}: blue −{limit:.3g}, white 0, red +{limit:.3g}"]
    if shown.note:
        lines.append(shown.note)
    if shown.significant is not None:
        lines.append(f"● significant: {shown.marks}")
    if shown.suspect is not None and shown.suspect.any():
        lines.append(SUSPECT)
    if shown.no_number.any():
        lines.append(NO_NUMBER)
    return lines


def _text(x: int | float, y: int | float, text: str, fill: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'


def _table(shown: CellMap, title: str, unit: str) -> str:
    rows = "".join(f"<li>{escape(numbers_of(shown, *place))}</li>" for place in shown.ranked()[:10])
    caption = f"{title}: the strongest of {shown.values.size} cells, {unit}"
    return f"<p>{escape(caption)}</p><ol>{rows}</ol>"
