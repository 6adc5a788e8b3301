"""`headwatch compare`: what changed between two steps of a run, or between two runs, in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.cells import new_table, signed, strongest, value_cells
from headwatch_callbacks.cli.errors import (
    exit_if_incomplete,
    failing_in_one_sentence,
    refusing_usage,
    tell_unreadable,
)

if TYPE_CHECKING:
    from headwatch.record import Comparison


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [OTHER]", help="The run's folder; with a second one the two are compared."
        ),
    ],
    before: Annotated[
        int | None, typer.Option("--from", min=-1, help="The step that is compared with.")
    ] = None,
    after: Annotated[int | None, typer.Option("--to", min=-1, help="The step that is looked at.")] = None,
    at: Annotated[int | None, typer.Option("--at", min=-1, help="Of two runs, the step of both.")] = None,
    label: Annotated[
        str | None, typer.Option("--label", "--series", help="The series, where the passes have several.")
    ] = None,
    count: Annotated[int, typer.Option("--top", "--count", "-n", min=1, help="How many heads.")] = 10,
) -> None:
    """Show which heads changed most, pair by pair, and which of them by more than noise.

    `headwatch compare RUN --from 400 --to 600`, or `headwatch compare RUN OTHER --at 600`.
    """
    with refusing_usage():
        steps = _steps(runs, before, after, at)
    with failing_in_one_sentence():
        from headwatch.record import Record
        from headwatch.record import compare as compare_passes
        from headwatch.record.find import only_record

        records = [Record.read(only_record(run)) for run in runs]
        tell_unreadable(*records)
        other = records[1] if len(records) == 2 else None
        change = compare_passes(records[0], *steps, label=label, other=other)
    Console().print(_table(change, count))
    exit_if_incomplete(*records)


def _steps(runs: list[Path], before: int | None, after: int | None, at: int | None) -> tuple[int, ...]:
    if len(runs) == 1 and before is not None and after is not None and at is None:
        return before, after
    if len(runs) == 2 and at is not None and before is None and after is None:
        return (at,)
    raise ValueError("say RUN --from STEP --to STEP, or RUN OTHER --at STEP")


def _table(change: "Comparison", count: int) -> Table:
    shown = change.cell_map()
    # By position, a head's strongest change is not where its effect is strongest.
    passes = [] if shown.note else [entry.cell_map() for entry in (change.before, change.after)]
    columns = [shown.dims[-1], *("before", "after")[: len(passes)], "change", "± 95%", ""]
    table = new_table(escape(change.title), _caption(change), columns)
    cells, largest = strongest(shown, count)
    for cell in cells:
        effects = [signed(float(one.values[cell])) for one in passes]
        table.add_row(shown.cell_name(*cell), *effects, *value_cells(shown, cell, largest))
    return table


def _caption(change: "Comparison") -> str:
    """What a number and a mark is, how many are marked, and how many chance would mark."""
    shown = change.cell_map()
    parts = [f"change of the effect on {change.after.metric}, pair by pair"]
    if shown.note:
        parts.append(shown.note)
    marked, chance = int(change.significant().sum()), change.expected_by_chance()
    parts.append(f"● more than noise: {shown.marks}")
    parts.append(f"{marked} of {shown.n_tested} marked, {chance:.2g} by chance if nothing had changed")
    if shown.suspect is not None:
        parts.append("? interval not to be trusted")
    return escape("; ".join(parts))
