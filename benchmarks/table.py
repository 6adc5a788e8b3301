"""What was measured: as tables for the terminal, as JSON, and as the Markdown page beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Measured
from benchmarks.tools.registry import BOUNDS, HEADWATCH

HEADINGS = ("", "seconds", "× headwatch", "share run", "largest error", "MB above model")


def show(rows: Sequence[Measured]) -> None:
    """Print one job's rows: seconds, how many times headwatch's, the share that was run, errors and memory."""
    table = Table(title=rows[0].job, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for cells in _cells(rows):
        table.add_row(*cells)
    Console(width=max(Console().width, 110)).print(table)


def save(path: Path, setting: Mapping[str, object], rows: Sequence[Measured]) -> None:
    """Write the settings, the versions and every row, as JSON and as a page of Markdown beside it."""
    content = {"setting": setting, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(setting, rows))


def markdown(setting: Mapping[str, object], rows: Sequence[Measured]) -> str:
    """The tables as Markdown."""
    lines = [
        "# What `make bench` measured",
        "",
        f"{setting['layers']} layers on a {setting['device']} ({setting['machine']}), {setting['threads']} threads, "
        f"medians of {setting['repeats']} interleaved repeats. README.md says what each row and column is.",
    ]
    for job, some in groupby(rows, lambda row: row.job):
        lines += ["", f"## {job}", "", _line(HEADINGS), _line(["---", *["---:"] * (len(HEADINGS) - 1)])]
        lines += [_line(cells) for cells in _cells(list(some))]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(rows: Sequence[Measured]) -> list[tuple[str, ...]]:
    ours = next((row.seconds for row in rows if row.tool == HEADWATCH), None)
    return [_row(row, ours) for row in rows]


def _row(row: Measured, ours: float | None) -> tuple[str, ...]:
    ratio = "" if ours is None else f"{row.seconds / ours:.2f}"
    share = "all" if row.share == 1 else f"{row.share:.1%}, scaled"
    error = "" if row.error is None else f"{row.error:.1e}"
    held = "" if row.above_model is None else f"{row.above_model / 1e6:.0f}"
    return (row.tool, f"{row.seconds:.3f}", ratio, "" if row.tool in BOUNDS else share, error, held)
