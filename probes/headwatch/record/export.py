"""Write a run's effects and scores to a file: one long table, whose columns `headwatch.record.table` describes."""

import csv
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from headwatch.record.reader import Record
from headwatch.record.table import COLUMNS, Row, table

Format = Literal["csv", "parquet"]
_TEXTS = ("probe", "series", "metric", "cell", "set")
_REALS = ("value", "stderr", "low", "high")


def export(run: Path | str, out: Path | str, format: Format | None = None) -> Path:
    """Write a run's effects and scores as one table: a row per step, series and cell.

    Example:
        >>> hw.export("headwatch_runs/my-run", "heads.csv").name
        'heads.csv'

    Args:
        run: the record's directory.
        out: the file to write.
        format: `csv`, or `parquet`, which needs pyarrow; None takes what the file's name ends in.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: the directory holds no record.
        ModuleNotFoundError: parquet was asked for and pyarrow is not installed.
        OSError: the file can't be written.
        ValueError: a format that is not known, or another one than the file's name ends in; a series with an axis
            that the table has no column for.
    """
    chosen = choose_format(Path(out), format)
    write_table(Record.read(run), Path(out), chosen)
    return Path(out)


def choose_format(out: Path, format: str | None) -> Format:
    """The format that is asked for, or the one that the file's name ends in.

    Raises:
        ValueError: neither says a known one, or they contradict each other.
    """
    known = get_args(Format)
    ending = out.suffix.lower().removeprefix(".")
    if format is not None and format not in known:
        raise ValueError(f"format {format!r} is not known: pass 'csv' or 'parquet'")
    if format is None and ending not in known:
        raise ValueError(f"{out} ends in neither .csv nor .parquet: name it so, or say which format")
    if format is not None and ending in known and ending != format:
        raise ValueError(f"{out} ends in .{ending} and format {format!r} was asked for: change one of them")
    return format or ending  # type: ignore[return-value]


def write_table(record: Record, out: Path, format: Format) -> int:
    """Write a record's table; returns how many rows it has.

    Raises:
        ModuleNotFoundError, OSError, ValueError: as `export`.
    """
    write = _write_csv if format == "csv" else _write_parquet
    try:
        return write(out, table(record))
    except OSError as problem:
        raise type(problem)(f"{out} can't be written: {problem.strerror or problem}") from problem


def _write_csv(out: Path, rows: Iterable[Row]) -> int:
    with out.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        return sum(writer.writerow(row) > 0 for row in rows)


def _write_parquet(out: Path, rows: Iterable[Row]) -> int:
    try:
        arrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "parquet needs pyarrow: pip install 'headwatch[parquet]', or export as csv"
        ) from problem
    kinds = {name: arrow.int64() for name in COLUMNS}
    kinds |= dict.fromkeys(_TEXTS, arrow.string()) | dict.fromkeys(_REALS, arrow.float64())
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [arrow.array(values, kinds[name]) for name, values in zip(COLUMNS, columns, strict=True)]
    written = arrow.table(dict(zip(COLUMNS, arrays, strict=True)))
    parquet.write_table(written, out)
    return written.num_rows
