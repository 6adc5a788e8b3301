"""Records whose lines, description and files are damaged: what is whole is read, and the rest is told."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import Record, RecordWriter
from headwatch.record.export import choose_format, write_table
from headwatch_callbacks.cli import app
from tests.fuzz.strategies import check_told, hostile_text, odd_values, share

MODEL = {"n_layers": 2, "n_heads": 3, "d_head": 2, "d_model": 6, "d_mlp": 8, "n_positions": 9, "d_vocab": 11}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record with a line of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    with RecordWriter(folder, name="whole", model=MODEL) as writer:
        for step in (1, 2, 3):
            values = torch.randn((4, 2, 3), generator=torch.Generator().manual_seed(step))
            clean = torch.ones(4)
            effects = Effects(values, clean, clean - 2, ("layer", "head"), "z", "mean", "loss")
            writer.effects(step, 0, "ablation", "ablation/z/mean/loss", effects, 0.1)
            writer.scores(step, 0, "patterns", {"entropy": values[0].abs()}, 0.1)
            writer.scalars(step, {"loss": 1.0 / step})
            writer.patterns(step, 0, "patterns", torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y"]])
        writer.note("info", "all is well")
    return folder


def copy_of(whole, folder):
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(whole, folder)


def read(folder):
    try:
        return Record.read(folder)
    except (ValueError, FileNotFoundError) as error:
        check_told(error)
        return None


def named(lines):
    """What identifies the entry of each effect line."""
    return {(line["step"], line["label"]) for line in map(json.loads, lines) if line["type"] == "effects"}


def use(record, folder):
    """Do with a record what its readers do; each may say in a sentence that it can't."""
    uses = [
        lambda: [entry.cell_map() for entry in record.effects],
        lambda: [record.patterns(frame.step, frame.label) for frame in record.frames],
        lambda: write_table(record, folder / "x.csv", choose_format(folder / "x.csv", None)),
        lambda: report([folder], folder / "x.html"),
    ]
    for each in uses:
        try:
            each()
        except (ValueError, OSError, KeyError) as error:
            check_told(error)


KEYS = [
    "step",
    "epoch",
    "label",
    "shape",
    "dims",
    "mean",
    "stderr",
    "site",
    "kind",
    "metric",
    "probe",
    "n",
    "seconds",
    "coords",
    "baseline",
    "clean",
    "corrupted",
    "exact",
    "scores",
    "values",
    "file",
    "tokens",
    "per_pair",
    "type",
    "overhead",
    "level",
    "message",
]
damaged_value = st.tuples(st.sampled_from(KEYS), odd_values)


@share(0.25)
@given(st.integers(0, 12), st.lists(damaged_value, min_size=1, max_size=2), st.integers(0, 4))
def test_a_line_with_odd_values_costs_no_other_line(whole, tmp_path_factory, which, changes, number):
    folder = copy_of(whole, tmp_path_factory.getbasetemp() / "odd")
    lines = (folder / "probes.jsonl").read_text().splitlines()
    lines[which] = json.dumps(json.loads(lines[which]) | dict(changes))
    (folder / "probes.jsonl").write_text("\n".join(lines) + "\n")
    record = read(folder)
    assert {(entry.step, entry.label) for entry in record.effects} >= named(
        lines[:which] + lines[which + 1 :]
    )
    assert record.unreadable <= 1
    if number == 0:
        use(record, folder)


@share(0.25)
@given(st.data())
def test_damaged_bytes_cost_no_whole_line(whole, tmp_path_factory, data):
    folder = copy_of(whole, tmp_path_factory.getbasetemp() / "bytes")
    before = (folder / "probes.jsonl").read_bytes()
    at = data.draw(st.integers(0, len(before)))
    after = before[:at] + data.draw(st.binary(max_size=12)) + before[at + data.draw(st.integers(0, 300)) :]
    (folder / "probes.jsonl").write_bytes(after)
    record = read(folder)
    kept = [line for line in before.splitlines() if line in after.splitlines()]
    assert {(entry.step, entry.label) for entry in record.effects} >= named(kept)
    if at % 10 == 0:
        use(record, folder)


@share(0.25)
@given(
    st.dictionaries(st.sampled_from(["format", "name", "model", "n_layers", "created"]), odd_values),
    hostile_text,
)
def test_an_odd_description_is_read_or_refused(whole, tmp_path_factory, changes, text):
    folder = copy_of(whole, tmp_path_factory.getbasetemp() / "described")
    described = json.loads((folder / "run.json").read_text())
    model = {name: value for name, value in changes.items() if name == "n_layers"}
    described |= {name: value for name, value in changes.items() if name != "n_layers"}
    if model and "model" not in changes:
        described["model"] = described["model"] | model
    (folder / "run.json").write_text(
        json.dumps(described) if changes else text.encode(errors="ignore").decode()
    )
    record = read(folder)
    if changes.get("format", 1) != 1 or not changes:
        assert record is None or described["format"] == record_format(whole)


def record_format(whole):
    return json.loads((whole / "run.json").read_text())["format"]


@share(0.1)
@given(st.data())
def test_the_commands_end_with_a_sentence(whole, tmp_path_factory, data):
    folder = copy_of(whole, tmp_path_factory.getbasetemp() / "commands")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(files))
    before = file.read_bytes()
    at = data.draw(st.integers(0, max(0, len(before) - 1)))
    file.write_bytes(
        before[:at] + data.draw(st.binary(max_size=12)) + before[at + data.draw(st.integers(0, 60)) :]
    )
    output = folder.parent / "out"
    command = data.draw(
        st.sampled_from(
            [
                ["top", folder],
                ["events", folder],
                ["compare", folder, "--from", "1", "--to", "3"],
                ["export", folder, "-o", output.with_suffix(".csv")],
                ["report", folder, "-o", output.with_suffix(".html")],
            ]
        )
    )
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert isinstance(result.exception, SystemExit | None), (command, result.exception)
    assert result.exit_code in (0, 1, 3), result.output
    assert result.exit_code != 1 or "headwatch:" in result.output
