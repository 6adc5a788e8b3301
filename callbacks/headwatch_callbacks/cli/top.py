"""`headwatch top`: the heads that matter most, with error bars, in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.told import failing_in_one_sentence

if TYPE_CHECKING:
    from headwatch.record import EffectEntry, Record

_BAR = 16
_KINDS = ("previous_token", "duplicate_token", "induction")


def top(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    series: Annotated[str | None, typer.Option(help="Only series whose name contains this.")] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="The last pass up to this step; by default the last.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many heads.")] = 10,
) -> None:
    """Show the heads that matter most, with 95% intervals and what they attend to."""
    with failing_in_one_sentence():
        from headwatch.record import Record

        record = Record.read(run)
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
    from headwatch_callbacks.trackers.importance import Z_95, map_of

    shown = map_of(entry.mean, entry.stderr, entry.dims, entry.n)
    table = Table(
        title=escape(f"{entry.label}, step {entry.step}"), caption=_caption(entry), title_justify="left"
    )
    for name in ("head", "effect", "± 95%", ""):
        table.add_column(name, justify="left" if name in ("head", "") else "right")
    kinds = _attended(record, entry)
    for name in kinds:
        table.add_column(name.replace("_", " "), justify="right", style="dim")
    if shown is None or shown.stderr is None:
        return table
    largest = max((abs(float(shown.values[place])) for place in shown.ranked()[:1]), default=0.0)
    for place in shown.ranked()[:count]:
        value, half = float(shown.values[place]), Z_95 * float(shown.stderr[place])
        scores = [f"{float(scores[place]):.2f}" for scores in kinds.values()]
        table.add_row(shown.unit(*place), f"{value:+.4g}", f"{half:.2g}", _bar(value, half, largest), *scores)
    return table


def _caption(entry: "EffectEntry") -> str:
    estimate = "" if entry.exact else ", first-order"
    return escape(
        f"effect on {entry.metric} over {entry.n} pairs{estimate}; not intervened {entry.baseline:.4g}; "
        "pale = interval includes 0"
    )


def _bar(value: float, half: float, largest: float) -> str:
    length = round(_BAR * abs(value) / largest) if largest else 0
    colour = "red" if value > 0 else "blue"
    style = colour if abs(value) > half else f"dim {colour}"
    return f"[{style}]{'█' * max(length, 1)}[/]"


def _attended(record: "Record", entry: "EffectEntry") -> dict:
    """The attention scores of the nearest earlier pass, `[layer, head]` by kind; none where units are no heads."""
    passes = [
        found for found in record.scores if found.step <= entry.step and set(_KINDS) <= set(found.scores)
    ]
    if not passes or entry.dims[:2] != ("layer", "head"):
        return {}
    return {name: passes[-1].scores[name] for name in _KINDS}
