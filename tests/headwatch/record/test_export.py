"""The long table has one row per value, with its place, its error and its interval."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from headwatch.effects import Effects
from headwatch.record import RecordWriter
from headwatch.record.entries import EffectEntry
from headwatch.record.export import export
from headwatch.record.table import COLUMNS


@pytest.fixture
def run(tmp_path):
    per_pair = torch.arange(24.0).reshape(2, 2, 3, 2)
    zeros = torch.zeros(2)
    with RecordWriter(tmp_path / "run", name="demo", model={}) as writer:
        by_position = Effects(
            per_pair, zeros, zeros, ("layer", "head", "position"), "z", "denoise", "logit_diff"
        )
        writer.effects(7, 1, "patching", "p", by_position, 0.0)
        writer.scores(7, 1, "s", {"induction": torch.tensor([[0.1, 0.2]])}, 0.0)
        single = Effects(torch.ones(1, 2), zeros[:1], None, ("layer",), "mlp_out", "zero", "loss")
        writer.effects(9, 2, "ablation", "a", single, 0.0)
    return tmp_path / "run"


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_csv_has_a_row_per_value(run, tmp_path):
    rows = rows_of(export(run, tmp_path / "out.csv"))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 12 + 2 + 2
    # Pair 0 holds 7, pair 1 holds 19: mean 13, standard deviation 8.485, standard error 6; t is 12.7062 for two pairs.
    [row] = [row for row in rows if (row["layer"], row["head"], row["position"]) == ("1", "0", "1")]
    assert [float(row[name]) for name in ("value", "stderr", "n", "step", "epoch")] == [13.0, 6.0, 2, 7, 1]
    assert [float(row[name]) for name in ("low", "high")] == pytest.approx(
        [13 - 12.7062 * 6, 13 + 12.7062 * 6], rel=1e-5
    )
    assert (row["probe"], row["series"], row["metric"], row["cell"]) == (
        "patching",
        "p",
        "logit_diff",
        "L1H0P1",
    )
    score = dict.fromkeys(COLUMNS, "") | {"step": "7", "epoch": "1", "probe": "scores", "series": "s"}
    score |= {"metric": "induction", "cell": "L0H0", "layer": "0", "head": "0", "value": "0.1"}
    assert rows[12] == score
    layer = dict.fromkeys(COLUMNS, "") | {"step": "9", "epoch": "2", "probe": "ablation", "series": "a"}
    layer |= {"metric": "loss", "cell": "L1", "layer": "1", "value": "1.0", "n": "1"}
    assert rows[-1] == layer


def write_chosen(directory, dims, coords):
    """A pass over chosen places, `coords` as an `EffectEntry` has them."""
    shape = tuple(len(coords[axis]) for axis in dims)
    values = torch.arange(float(torch.Size(shape).numel())).reshape(shape).numpy()
    entry = EffectEntry(
        step=1,
        epoch=0,
        probe="ablation",
        label="chosen",
        site="post",
        kind="zero",
        metric="loss",
        exact=True,
        dims=dims,
        coords=coords,
        mean=values,
        stderr=values * 0,
        n=3,
        baseline=0.0,
        clean=0.0,
        corrupted=None,
        seconds=0.0,
    )
    with RecordWriter(directory, name="demo", model={}) as writer:
        writer._append(entry)
    return directory


def test_chosen_layers_and_neurons_keep_their_numbers(tmp_path):
    coords = {"layer": (9, 10), "neuron": (200, 201)}
    rows = rows_of(export(write_chosen(tmp_path / "run", ("layer", "neuron"), coords), tmp_path / "out.csv"))
    assert [(row["cell"], row["layer"], row["neuron"]) for row in rows] == [
        ("L9N200", "9", "200"),
        ("L9N201", "9", "201"),
        ("L10N200", "10", "200"),
        ("L10N201", "10", "201"),
    ]


def test_sets_are_named_by_their_heads(tmp_path):
    coords = {"set": (((9, 6), (10, 0)), ((9, 9),))}
    rows = rows_of(export(write_chosen(tmp_path / "run", ("set",), coords), tmp_path / "out.csv"))
    assert [row["set"] for row in rows] == [row["cell"] for row in rows] == ["L9H6+L10H0", "L9H9"]


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'headwatch\[parquet\]'"):
        export(run, tmp_path / "out.parquet", format="parquet")


def test_parquet_gets_typed_columns(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra headwatch[parquet]")
    table = parquet.read_table(export(run, tmp_path / "out.parquet"))
    kinds = dict.fromkeys(COLUMNS, "int64") | dict.fromkeys(("value", "stderr", "low", "high"), "double")
    kinds |= dict.fromkeys(("probe", "series", "metric", "cell", "set"), "string")
    assert {field.name: str(field.type) for field in table.schema} == kinds
    assert table["step"].to_pylist() == [7] * 14 + [9] * 2
    assert table["position"].to_pylist() == [0, 1] * 6 + [None] * 4
    assert table["value"].to_pylist()[:2] == [6.0, 7.0]


def test_an_empty_record_is_an_empty_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra headwatch[parquet]")
    RecordWriter(tmp_path / "run", name="demo", model={}).close()
    assert rows_of(export(tmp_path / "run", tmp_path / "out.csv")) == []
    table = parquet.read_table(export(tmp_path / "run", tmp_path / "out.parquet"))
    assert (table.num_rows, tuple(table.column_names)) == (0, COLUMNS)


def test_an_axis_without_a_column_is_said(tmp_path):
    effects = Effects(torch.ones(2, 3), torch.ones(2), None, ("expert",), "post", "zero", "loss")
    with RecordWriter(tmp_path / "run", name="demo", model={}) as writer:
        writer.effects(1, 0, "ablation", "a", effects, 0.0)
    with pytest.raises(ValueError, match="axis 'expert'"):
        export(tmp_path / "run", tmp_path / "out.csv")


def test_another_format_is_said(run, tmp_path):
    with pytest.raises(Exception, match="excel"):
        export(run, tmp_path / "out", format="excel")


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("out.xlsx", None, r"out\.xlsx ends in neither \.csv nor \.parquet"),
        ("out", None, r"out ends in neither"),
        ("out.parquet", "csv", r"ends in \.parquet and format 'csv' was asked for"),
    ],
)
def test_a_name_that_says_no_format_or_another_one_is_refused(run, tmp_path, name, format, said):
    with pytest.raises(ValueError, match=said):
        export(run, tmp_path / name, format=format)
    assert not (tmp_path / name).exists()


def test_a_name_without_an_ending_takes_the_format_that_is_asked_for(run, tmp_path):
    assert len(rows_of(export(run, tmp_path / "out", format="csv"))) == 16


@pytest.mark.parametrize("out", [Path("missing") / "out.csv", Path("missing") / "out.parquet"])
def test_a_file_that_cannot_be_written_is_said(run, tmp_path, out):
    with pytest.raises(OSError, match=r"missing.out\.\w+ can't be written: "):
        export(run, tmp_path / out)
