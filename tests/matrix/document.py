"""The tables of `docs/guarantees.md`: what the matrix ran and found."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.matrix.effects import tolerance
from tests.matrix.rows import ROWS, Row
from tests.matrix.run import EFFECTS, Found, expected_columns
from tests.matrix.trace import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
START, END = "<!-- written by make matrix: the start -->", "<!-- written by make matrix: the end -->"
HEADER = ["training", *COLUMNS, EFFECTS, "run by"]
SAME, NOTHING_THERE, DIFFERENT = "=", "–", "**≠**"


def cells(found: Found) -> list[str]:
    """One line of the table."""
    row = found.row
    shown = [f"`{row.name}`" if re.search(r"[=()@]", row.name) else row.name]
    for column in COLUMNS:
        absent = column == "recompilations" and not row.training.compiled
        shown.append(DIFFERENT if found.wrong.get(column) else NOTHING_THERE if absent else SAME)
    # An estimate is off by its error, and has tests of its own.
    agrees = f"{tolerance(row.training):g}" if row.training.budget is None else "maps only"
    shown.append(DIFFERENT if found.wrong.get(EFFECTS) or EFFECTS not in found.wrong else agrees)
    return [*shown, run_by(row)]


def run_by(row: Row) -> str:
    return "`make test`" if row.fast else "`make matrix`"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *[":-:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def tables(found: Sequence[Found], shown: Mapping[str, Sequence[str]]) -> str:
    """Both tables: the rows, and the mistakes with the columns that they showed in."""
    by_name = {each.row.name: each for each in found}
    rows = table(HEADER, [cells(by_name[row.name]) for row in ROWS])
    planted = [
        [what, column, ", ".join(shown[what]) or "**nowhere**"] for what, column in expected_columns().items()
    ]
    mistakes = table(["planted mistake", "must show in", "shows in"], planted)
    return f"{rows}\n\n{mistakes}"


def write(found: Sequence[Found], shown: Mapping[str, Sequence[str]]) -> None:
    """Put the tables between the page's markers."""
    before, _, rest = PAGE.read_text().partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n\n{tables(found, shown)}\n\n{END}{after}")


def read() -> tuple[list[list[str]], list[list[str]]]:
    """The cells of both tables as they stand on the page, header first and without the rule."""
    block = PAGE.read_text().partition(START)[2].partition(END)[0]
    found = [[]]  # type: list[list[list[str]]]
    for line in block.strip().splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("| ").split(" | ")])
        else:
            found.append([])
    rows, mistakes = (each[:1] + each[2:] for each in found if each)
    return rows, mistakes
