"""A record as one long table: a row per step, series, metric, layer, head, position and neuron, for notebooks."""

import csv
import math
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headwatch.record.entries import EffectEntry, ScoreEntry
from headwatch.record.reader import Record

COLUMNS = ("step", "probe", "label", "metric", "layer", "head", "position", "neuron", "mean", "stderr", "n")
INDEXED = ("layer", "head", "position", "neuron")
Row = tuple[int | float | str | None, ...]


def export(run: Path | str, out: Path | str, format: Literal["parquet", "csv"] = "csv") -> Path:
    """Write a run's effects and scores as a tidy table with the columns of `COLUMNS`.

    Effects are in their metric's unit; scores have their name as the metric and no standard error. What a series has no
    axis for is left empty.

    Args:
        run: the record's directory.
        out: the file to write.
        format: `csv`, or `parquet`, which needs pyarrow.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: the directory holds no record.
        ModuleNotFoundError: parquet was asked for and pyarrow is not installed.
        ValueError: another format, or a series with axes that the table has no column for.
    """
    if format not in ("csv", "parquet"):
        raise ValueError(f"format {format!r} is not known: pass 'csv' or 'parquet'")
    record = Record.read(run)
    out = Path(out)
    if format == "csv":
        _write_csv(out, table(record))
    else:
        _write_parquet(out, list(table(record)))
    return out


def table(record: Record) -> Iterator[Row]:
    """The rows of a record, in the order of its passes.

    Raises:
        ValueError: a series has axes that the table has no column for.
    """
    for entry in record.probes:
        if isinstance(entry, ScoreEntry):
            for name, values in entry.scores.items():
                shown = (entry.step, "scores", entry.label, name)
                missing = np.full_like(values, math.nan)
                yield from _rows(shown, ("layer", "head"), values, missing, None)
        else:
            yield from _effect_rows(entry)


def _effect_rows(entry: EffectEntry) -> Iterator[Row]:
    unknown = [name for name in entry.dims if name not in INDEXED]
    if unknown:
        raise ValueError(
            f"series {entry.label!r} has the axis {unknown[0]!r}, the table has only {list(INDEXED)}"
        )
    shown = (entry.step, entry.probe, entry.label, entry.metric)
    yield from _rows(shown, entry.dims, entry.mean, entry.stderr, entry.n)


def _rows(
    shown: Row, dims: Sequence[str], mean: np.ndarray, stderr: np.ndarray, n: int | None
) -> Iterator[Row]:
    for index in np.ndindex(mean.shape):
        place = dict(zip(dims, index, strict=True))
        at = tuple(place.get(name) for name in INDEXED)
        yield (*shown, *at, _finite(mean[index]), _finite(stderr[index]), n)


def _finite(value: Any) -> float | None:
    # The shortest digits of the 32-bit float: 0.1, not 0.10000000149.
    return float(str(value)) if np.isfinite(value) else None


def _write_csv(out: Path, rows: Iterator[Row]) -> None:
    with out.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _write_parquet(out: Path, rows: list[Row]) -> None:
    try:
        arrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError("parquet needs pyarrow: pip install pyarrow, or export as csv") from problem
    kinds = [
        arrow.int64(),
        *[arrow.string()] * 3,
        *[arrow.int64()] * 4,
        arrow.float64(),
        arrow.float64(),
        arrow.int64(),
    ]
    columns = [[row[i] for row in rows] for i in range(len(COLUMNS))]
    arrays = [arrow.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    parquet.write_table(arrow.table(dict(zip(COLUMNS, arrays, strict=True))), out)
