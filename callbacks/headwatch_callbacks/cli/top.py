"""`headwatch top`: the heads that matter most, with error bars, in the terminal."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.errors import failing_in_one_sentence

if TYPE_CHECKING:
    from headwatch.pictures.cell_map import CellMap
    from headwatch.record import EffectEntry, Record

_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
_KINDS = ("previous_token", "duplicate_token", "induction")


def top(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, or one that holds just this run.")
    ],
    series: Annotated[str | None, typer.Option(help="Only series whose name contains this.")] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="The last pass up to this step; by default the last.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many heads.")] = 10,
) -> None:
    """Show the heads that matter most, with 95% intervals and what they attend to."""
    with failing_in_one_sentence():
        from headwatch.record import Record
        from headwatch.record.find import only_record

        record = Record.read(only_record(run))
        latest = _latest(record, series, step)
    console = Console()
    for entry in latest:
        console.print(_table(record, entry, count))


def _latest(record: "Record", series: str | None, step: int | None) -> "list[EffectEntry]":
    found: dict[str, EffectEntry] = {}
    for entry in record.effects:
        if (series is None or series in entry.label) and (step is None or entry.step <= step):
            found[entry.label] = entry
    if not found:
        known = ", ".join(sorted({entry.label for entry in record.effects})) or "none"
        asked = " ".join(
            f"{name} {value!r}"
            for name, value in (("series", series), ("up to step", step))
            if value is not None
        )
        raise ValueError(f"{record.directory} has no effects {asked}".rstrip() + f"; its series: {known}")
    return [found[label] for label in sorted(found)]


def _table(record: "Record", entry: "EffectEntry", count: int) -> Table:
    shown = entry.cell_map()
    table = Table(
        title=escape(f"{entry.label}, step {entry.step}"),
        caption=_caption(entry, shown),
        title_justify="left",
    )
    for name in (shown.dims[-1], "effect", "± 95%", ""):
        table.add_column(name, justify="right" if name in ("effect", "± 95%") else "left")
    table.add_column("", min_width=_BAR)  # a bar that was cut short would lie about its head
    kinds = _attended(record, entry)
    for name in kinds:
        table.add_column(name.replace("_", " "), justify="right", style="dim")
    strongest = shown.ranked()[:count]
    largest = max((abs(float(shown.values[cell])) for cell in strongest), default=0.0)
    for cell in strongest:
        scores = [f"{float(scores[shown.places(*cell)]):.2f}" for scores in kinds.values()]
        table.add_row(shown.cell_name(*cell), *_effect(shown, cell, largest), *scores)
    return table


def _effect(shown: "CellMap", cell: tuple[int, int], largest: float) -> list[str]:
    """A cell's effect, half of its interval's width where it has one, its mark and its bar."""
    value, margin, marked = float(shown.values[cell]), shown.margin(*cell), shown.marked(*cell)
    half = f"{margin:.2g}" if isfinite(margin) else "–"
    return [f"{value:+.4g}", half, "●" if marked else "", _bar(value, largest, marked)]


def _caption(entry: "EffectEntry", shown: "CellMap") -> str:
    estimate = "" if entry.exact else ", first-order"
    pairs = "1 pair" if entry.n == 1 else f"{entry.n} pairs"
    parts = [f"effect on {entry.metric} over {pairs}{estimate}", f"not intervened {entry.baseline:.4g}"]
    if shown.note:
        parts.append(shown.note)
    parts.append(
        "no intervals from one pair" if shown.significant is None else f"● significant: {shown.marks}"
    )
    return escape("; ".join(parts))


def _bar(value: float, largest: float, marked: bool) -> str:
    eighths = round(8 * _BAR * abs(value) / largest) if largest else 0
    bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    colour = "red" if value > 0 else "blue"
    return f"[{colour if marked else f'dim {colour}'}]{bar}[/]"


def _attended(record: "Record", entry: "EffectEntry") -> dict:
    """The attention scores of the nearest earlier pass, `[layer, head]` by kind; none where units are no heads."""
    passes = [
        found for found in record.scores if found.step <= entry.step and set(_KINDS) <= set(found.scores)
    ]
    if not passes or entry.dims[:2] != ("layer", "head"):
        return {}
    return {name: passes[-1].scores[name] for name in _KINDS}
