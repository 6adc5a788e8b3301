"""The long table has one row per value, with its place and its error."""

import csv
import sys
import types

import pytest
import torch

from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch.record.export import COLUMNS, export


@pytest.fixture
def run(tmp_path):
    per_pair = torch.arange(24.0).reshape(2, 2, 3, 2)
    zeros = torch.zeros(2)
    with RecordWriter(tmp_path / "run", name="demo", model={}) as writer:
        by_position = Effects(
            per_pair, zeros, zeros, ("layer", "head", "position"), "z", "denoise", "logit_diff"
        )
        writer.effects(7, 0, "patching", "p", by_position, 0.0)
        writer.scores(7, 0, "s", {"induction": torch.tensor([[0.1, 0.2]])}, 0.0)
        single = Effects(torch.ones(1, 2), zeros[:1], None, ("layer",), "mlp_out", "zero", "loss")
        writer.effects(9, 0, "ablation", "a", single, 0.0)
    return tmp_path / "run"


def test_csv_has_a_row_per_value(run, tmp_path):
    with export(run, tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 12 + 2 + 2
    # Pair 0 holds 7, pair 1 holds 19: mean 13, standard deviation 8.485, standard error 6.
    [row] = [row for row in rows if (row["layer"], row["head"], row["position"]) == ("1", "0", "1")]
    assert [float(row[name]) for name in ("mean", "stderr", "n", "step")] == [13.0, 6.0, 2.0, 7.0]
    assert rows[12] == dict(
        zip(COLUMNS, ["7", "scores", "s", "induction", "0", "0", "", "", "0.1", "", ""], strict=True)
    )
    assert rows[-1] == dict(
        zip(COLUMNS, ["9", "ablation", "a", "loss", "1", "", "", "", "1.0", "", "1"], strict=True)
    )


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        export(run, tmp_path / "out.parquet", format="parquet")


def test_parquet_gets_typed_columns(run, tmp_path, monkeypatch):
    """With a stand-in for pyarrow that keeps what it was given."""
    written = {}
    arrow, parquet = types.ModuleType("pyarrow"), types.ModuleType("pyarrow.parquet")
    arrow.int64, arrow.string, arrow.float64 = (lambda: "int64"), (lambda: "string"), (lambda: "float64")
    arrow.array = lambda values, kind: (kind, values)
    arrow.table = dict
    parquet.write_table = lambda table, out: written.update(table)
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    export(run, tmp_path / "out.parquet", format="parquet")
    assert tuple(written) == COLUMNS
    assert written["step"] == ("int64", [7] * 14 + [9] * 2)
    assert written["position"] == ("int64", [0, 1] * 6 + [None] * 4)
    assert written["mean"][0] == "float64"


def test_an_axis_without_a_column_is_said(tmp_path):
    effects = Effects(torch.ones(2, 3), torch.ones(2), None, ("expert",), "post", "zero", "loss")
    with RecordWriter(tmp_path / "run", name="demo", model={}) as writer:
        writer.effects(1, 0, "ablation", "a", effects, 0.0)
    with pytest.raises(ValueError, match="axis 'expert'"):
        export(tmp_path / "run", tmp_path / "out.csv")


def test_another_format_is_said(run, tmp_path):
    with pytest.raises(Exception, match="excel"):
        export(run, tmp_path / "out", format="excel")
