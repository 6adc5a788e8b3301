"""`headwatch export`: a run's numbers as one long table, a row a cell and pass."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwatch_callbacks.cli.errors import (
    exit_if_incomplete,
    failing_in_one_sentence,
    refusing_usage,
    tell_unreadable,
)


class Format(StrEnum):
    """The kinds of file that `export` writes: text, or typed columns."""

    csv = "csv"
    parquet = "parquet"


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, or one that holds just this run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write: .csv or .parquet.")],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", "-f", help="By default what the file's name ends in; parquet needs pyarrow."
        ),
    ] = None,
) -> None:
    """Write every effect and score of a run as one table: a row a pass and cell, with its 95 % interval."""
    from headwatch.record import Record
    from headwatch.record.export import choose_format, write_table
    from headwatch.record.find import only_record

    with refusing_usage():
        chosen = choose_format(output, None if form is None else form.value)
    with failing_in_one_sentence():
        record = Record.read(only_record(run))
        tell_unreadable(record)
        rows = write_table(record, output, chosen)
    Console(soft_wrap=True).print(f"{output}: {rows} rows", highlight=False)
    exit_if_incomplete(record)
