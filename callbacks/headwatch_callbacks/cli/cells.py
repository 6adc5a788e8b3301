"""What the columns of a terminal's table show of a cell: its number, its interval, its mark and a bar."""

from math import isfinite, isnan
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from headwatch.pictures.cell_map import CellMap

BAR = 8
NUMBER = 7  # such as -0.9893: digits that were cut off would be missed
_EIGHTHS = " ▏▎▍▌▋▊▉"
RIGHT = ("effect", "change", "± 95%", "before", "after")


def new_table(title: str, caption: str, columns: list[str]) -> Table:
    """A table with these columns and one for the bar."""
    table = Table(title=title, caption=caption, title_justify="left")
    for name in columns:
        right, number = name in RIGHT, name in RIGHT and name != "± 95%"
        table.add_column(name, justify="right" if right else "left", min_width=NUMBER if number else None)
    table.add_column("", min_width=BAR)  # a bar that was cut short would lie about its head
    return table


def strongest(shown: "CellMap", count: int) -> tuple[list[tuple[int, int]], float]:
    """The cells with the largest values, those that are no numbers last, and the size of the first of them."""
    known = shown.ranked()[:count]
    unknown = [(int(row), int(column)) for row, column in zip(*shown.no_number.nonzero(), strict=True)]
    return (known + unknown)[:count], max((abs(float(shown.values[cell])) for cell in known), default=0.0)


def value_cells(shown: "CellMap", cell: tuple[int, int], largest: float) -> list[str]:
    """A cell's value, half of its interval's width where it has one, its mark and its bar."""
    value, margin, marked = float(shown.values[cell]), shown.margin(*cell), shown.marked(*cell)
    half = f"{margin:.2g}" if isfinite(margin) else "–"
    mark = ("●" if marked else "") + ("?" if shown.is_suspect(*cell) else "")
    return [signed(value), half, mark, _bar(value, largest, marked)]


def signed(value: float) -> str:
    """A number with its sign, or NaN."""
    return "NaN" if isnan(value) else f"{value:+.4g}"


def _bar(value: float, largest: float, marked: bool) -> str:
    eighths = round(8 * BAR * abs(value) / largest) if largest and isfinite(value) else 0
    bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    colour = "red" if value > 0 else "blue"
    return f"[{colour if marked else f'dim {colour}'}]{bar}[/]"
