"""`headwatch top`: the heads that matter most, with error bars, in the terminal."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.cells import new_table, strongest, value_cells
from headwatch_callbacks.cli.errors import exit_if_incomplete, failing_in_one_sentence, tell_unreadable

if TYPE_CHECKING:
    from headwatch.pictures.cell_map import CellMap
    from headwatch.record import EffectEntry, Record, SeriesChangePoints

_KINDS = ("previous_token", "duplicate_token", "induction")


def top(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, or one that holds just this run.")
    ],
    series: Annotated[str | None, typer.Option(help="Only series whose name contains this.")] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=-1, help="The last pass up to this step; by default the last. -1 is before training."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many heads.")] = 10,
) -> None:
    """Show the heads that matter most, with 95% intervals, since when, and what they attend to."""
    with failing_in_one_sentence():
        from headwatch.record import Record
        from headwatch.record.find import only_record

        record = Record.read(only_record(run))
        tell_unreadable(record)
        latest = _latest(record, series, step)
    console = Console()
    for entry in latest:
        console.print(_table(record, entry, count))
    exit_if_incomplete(record)


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
    from headwatch.record.steps import step_name

    shown = entry.cell_map()
    kinds, series = _attended(record, entry), _change_points(record, entry)
    caption = _caption(record, entry, shown) + ("" if series is None else _since_caption(series))
    columns = [shown.dims[-1], "effect", "± 95%", ""]
    table = new_table(escape(f"{entry.label}, {step_name(entry.step)}"), caption, columns)
    if series is not None:
        table.add_column("since", justify="right", no_wrap=True)
    for name in kinds:
        table.add_column(name.replace("_", " "), justify="right", style="dim")
    cells, largest = strongest(shown, count)
    for cell in cells:
        since = [] if series is None else [_since(series, cell)]
        scores = [f"{float(scores[shown.places(*cell)]):.2f}" for scores in kinds.values()]
        table.add_row(shown.cell_name(*cell), *value_cells(shown, cell, largest), *since, *scores)
    return table


def _caption(record: "Record", entry: "EffectEntry", shown: "CellMap") -> str:
    pairs = "1 pair" if entry.n == 1 else f"{entry.n} pairs"
    how = f"effect on {entry.metric} over {pairs}{_estimated(entry)}"
    parts = [how, f"not intervened {entry.baseline:.4g}"]
    if shown.note:
        parts.append(shown.note)
    if shown.no_number.any():
        parts.append(_no_numbers(record, entry, shown))
    parts.append(
        "no intervals from one pair" if shown.significant is None else f"● significant: {shown.marks}"
    )
    if shown.suspect is not None:
        parts.append("? interval not to be trusted")
    return escape("; ".join(parts))


def _no_numbers(record: "Record", entry: "EffectEntry", shown: "CellMap") -> str:
    """How many effects are no numbers, and since when the training's loss is none."""
    from headwatch.record.diverged import not_finite_since

    counted = f"{int(shown.no_number.sum())} of {shown.no_number.size} effects are no numbers"
    since = not_finite_since(record, entry.step)
    return counted if since is None else f"{counted}: the loss is not finite since step {since}"


def _estimated(entry: "EffectEntry") -> str:
    """How an effect was estimated; nothing where it is exact."""
    if entry.exact:
        return ""
    if entry.n_exact is None:
        return ", first-order"
    fewest, most = int(entry.n_exact.min()), int(entry.n_exact.max())
    return f", estimated from {fewest if fewest == most else f'{fewest} to {most}'} exact runs"


def _change_points(record: "Record", entry: "EffectEntry") -> "SeriesChangePoints | None":
    """Since when the heads of a pass have their effects; None where too few passes before it tell."""
    from headwatch.record import change_points

    if len(entry.dims) > 2:
        return None
    try:
        return change_points(record, label=entry.label, up_to=entry.step)
    except ValueError:
        return None


def _since(series: "SeriesChangePoints", cell: tuple[int, int]) -> str:
    """The step of a head's shift and how far off it may be, such as `420 ± 60`; nothing where it may be noise."""
    at = cell[: len(series.dims)]
    if not series.found.significant()[at]:
        return ""
    step, low, high = (
        float(values[at]) for values in (series.found.step, series.found.low, series.found.high)
    )
    # Half steps are rounded up, as the page does.
    return f"{math.floor(step + 0.5)} ± {math.floor(max(high - step, step - low) + 0.5)}"


def _since_caption(series: "SeriesChangePoints") -> str:
    passes = f"{len(series.steps)} passes"
    return f"; since: the step of each trajectory's largest shift over {passes}, if more than noise, ± its 95% interval"


def _attended(record: "Record", entry: "EffectEntry") -> dict:
    """The attention scores of the nearest earlier pass, `[layer, head]` by kind; none where units are no heads."""
    passes = [
        found for found in record.scores if found.step <= entry.step and set(_KINDS) <= set(found.scores)
    ]
    if not passes or entry.dims[:2] != ("layer", "head"):
        return {}
    return {name: passes[-1].scores[name] for name in _KINDS}
