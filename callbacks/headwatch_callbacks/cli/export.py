"""`headwatch export`: a run's numbers as one long table, a row a head and pass."""

import csv
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from headwatch_callbacks.cli.told import failing_in_one_sentence

if TYPE_CHECKING:
    from headwatch.record import EffectEntry, Record, ScoreEntry

COLUMNS = ("step", "epoch", "series", "unit", "layer", "head", "position", "neuron", "value", "stderr", "n")
_UNITS = {"layer": "L", "head": "H", "position": "P", "neuron": "N"}


class Format(StrEnum):
    """What `export` writes."""

    csv = "csv"
    parquet = "parquet"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    form: Annotated[Format, typer.Option("--format", "-f", help="parquet needs pyarrow.")] = Format.csv,
) -> None:
    """Write every effect and score of a run as one table: a row a pass and head."""
    with failing_in_one_sentence():
        from headwatch.record import Record

        rows = list(table(Record.read(run)))
        (_write_csv if form is Format.csv else _write_parquet)(output, rows)
    Console(soft_wrap=True).print(f"{output}: {len(rows)} rows", highlight=False)


def table(record: "Record") -> Iterator[dict[str, Any]]:
    """The rows of a record, by step and series; columns as in `COLUMNS`, None where one doesn't apply."""
    from headwatch.record import ScoreEntry

    for entry in record.probes:
        yield from _scores(entry) if isinstance(entry, ScoreEntry) else _effects(entry)


def _effects(entry: "EffectEntry") -> Iterator[dict[str, Any]]:
    import numpy as np

    for place in np.ndindex(*entry.mean.shape):
        error = entry.stderr[place]
        row = _row(entry, entry.label, dict(zip(entry.dims, place, strict=True)), float(entry.mean[place]))
        yield row | {"stderr": float(error) if np.isfinite(error) else None, "n": entry.n}


def _scores(entry: "ScoreEntry") -> Iterator[dict[str, Any]]:
    import numpy as np

    for name, values in entry.scores.items():
        for layer, head in np.ndindex(*values.shape):
            yield _row(
                entry, f"{entry.label}/{name}", {"layer": layer, "head": head}, float(values[layer, head])
            )


def _row(
    entry: "EffectEntry | ScoreEntry", series: str, axes: dict[str, int], value: float
) -> dict[str, Any]:
    unit = "".join(f"{_UNITS.get(axis, axis)}{place}" for axis, place in axes.items())
    row = dict.fromkeys(COLUMNS) | {"step": entry.step, "epoch": entry.epoch, "series": series, "unit": unit}
    return row | {axis: place for axis, place in axes.items() if axis in COLUMNS} | {"value": value}


def _write_csv(output: Path, rows: list[dict[str, Any]]) -> None:
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(output: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--format parquet needs pyarrow: pip install 'headwatch[parquet]'"
        ) from error
    kinds = {name: pa.int64() for name in COLUMNS}
    kinds |= {"series": pa.string(), "unit": pa.string(), "value": pa.float64(), "stderr": pa.float64()}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds.items())), output)
