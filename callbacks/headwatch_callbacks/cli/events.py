"""`headwatch events`: which heads changed from one pass to the next by more than noise explains, in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.errors import exit_if_incomplete, failing_in_one_sentence, tell_unreadable

if TYPE_CHECKING:
    from headwatch.record import Events


def events(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, or one that holds just this run.")
    ],
    label: Annotated[
        str | None, typer.Option("--label", "--series", help="The series; by default all.")
    ] = None,
) -> None:
    """List the heads that changed from one pass to the next by more than noise explains."""
    with failing_in_one_sentence():
        from headwatch.record import Record
        from headwatch.record import events as find_events
        from headwatch.record.find import only_record

        record = Record.read(only_record(run))
        tell_unreadable(record)
        found = find_events(record, label=label)
    Console().print(_table(found))
    for problem in found.problems:
        typer.echo(f"headwatch: not compared: {problem}", err=True)
    exit_if_incomplete(record)


def _table(found: "Events") -> Table:
    table = Table(title="changes by more than noise", caption=_caption(found), title_justify="left")
    for name in ("steps", "series", "cell", "change", "95% interval"):
        table.add_column(name, justify="right" if name in ("steps", "change") else "left")
    for event in found:
        interval = f"{event.low:+.3g} to {event.high:+.3g}"
        steps = f"{event.before}–{event.after}"
        table.add_row(steps, escape(event.label), event.cell, f"{event.change:+.4g}", interval)
    return table


def _caption(found: "Events") -> str:
    from headwatch.cell_names import how_many

    compared = f"{how_many(found.comparisons, 'comparison')} of a pass with the one before"
    chance = f"if nothing had changed, chance would list {found.by_chance:.2g}"
    return f"{how_many(len(found), 'change')} in {compared}; {chance}"
