"""What was measured, as a table for the terminal and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Measured
from benchmarks.tools.registry import BOUNDS, HEADWATCH


def show(rows: Sequence[Measured]) -> None:
    """Print one job's rows: seconds, how many times headwatch's, the share that was run, errors and memory."""
    ours = next((row.seconds for row in rows if row.tool == HEADWATCH), None)
    table = Table(title=rows[0].job, title_justify="left")
    for heading in ("", "seconds", "× headwatch", "share run", "largest error", "MB above model"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rows:
        ratio = "" if ours is None else f"{row.seconds / ours:.2f}"
        share = "all" if row.share == 1 else f"{row.share:.1%}, scaled"
        error = "" if row.error is None else f"{row.error:.1e}"
        held = "" if row.above_model is None else f"{row.above_model / 1e6:.0f}"
        table.add_row(row.tool, f"{row.seconds:.3f}", ratio, "" if row.tool in BOUNDS else share, error, held)
    Console(width=max(Console().width, 110)).print(table)


def save(path: Path, setting: dict[str, object], rows: Sequence[Measured]) -> None:
    """Write the settings, the versions and every row."""
    content = {"setting": setting, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")
