"""Records of other versions: an older one is read, a newer one says so, and nothing that is unknown is passed over."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.record import Record, RecordWriter
from headwatch.record.coords import coords_from_json, coords_to_json
from headwatch.record.description import check_no_lines
from headwatch.record.fields import Fields
from headwatch.record.whole_file import write_whole

OLD = Path(__file__).parents[2] / "data" / "record_format_1"  # written by headwatch 0.1
OLD_SIZES = {
    "n_layers": 2,
    "n_heads": 3,
    "d_head": 4,
    "d_model": 12,
    "d_mlp": 48,
    "n_positions": 16,
    "d_vocab": 50,
}


@pytest.fixture
def old(tmp_path):
    """A copy that may be written to."""
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def describe(directory, **changes):
    file = directory / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_record_of_format_1_is_read():
    record = Record.read(OLD)
    assert record.problems == ()
    assert (record.name, record.model) == ("old-run", OLD_SIZES)
    ablation, patching, neurons = record.effects
    np.testing.assert_array_equal(ablation.mean, [[3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(ablation.stderr, np.full((2, 3), 3.0))
    assert (ablation.coords, neurons.coords) == (
        {"layer": (0, 1), "head": (0, 1, 2)},
        {"layer": (0, 1), "neuron": (0, 1)},
    )
    # Effects 3 to 8 from a baseline of 1, corrupted 1 and clean 3.
    np.testing.assert_array_equal(patching.normalized, [[1.5, 2, 2.5], [3, 3.5, 4]])
    np.testing.assert_allclose(record.scores[0].scores["induction"][1], [0.4, 0.5, 0.6])
    assert record.prompts["patching/z"].clean[1] == ("4", "5", "6")
    assert (record.scalars["train/loss"].values.tolist(), record.notes[0].message) == ([2.5], "a note")
    assert [entry.tokens for entry in record.frames] == [(("a", " b"),)]


def test_a_run_goes_on_with_a_record_of_format_1(old):
    with RecordWriter(old, name="old-run", model=OLD_SIZES) as writer:
        writer.scalars(200, {"train/loss": 1.5})
    assert json.loads((old / "run.json").read_text())["format"] == 2
    record = Record.read(old)
    assert record.scalars["train/loss"].values.tolist() == [2.5, 1.5]
    assert len(record.effects) == 3


def test_a_newer_format_is_said_in_one_sentence(old):
    describe(old, format=3, model={"layers": "many"})
    before = (old / "run.json").read_bytes()
    for use in (Record.read, lambda folder: RecordWriter(folder, name="x", model={})):
        with pytest.raises(ValueError, match=r"run\.json is a record of format 3, .* reads up to 2") as told:
            use(old)
        assert "\n" not in str(told.value)
    assert (old / "run.json").read_bytes() == before


def test_a_description_that_is_damaged_is_said_by_the_writer_too(old):
    (old / "run.json").write_text('{"format": 2')
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        RecordWriter(old, name="x", model={})


def test_one_more_size_does_not_part_a_run_from_its_record(old):
    RecordWriter(old, name="old-run", model=OLD_SIZES | {"n_kv_heads": 3}).close()
    assert Record.read(old).model == OLD_SIZES | {"n_kv_heads": 3}
    RecordWriter(old, name="old-run", model=OLD_SIZES).close()
    assert Record.read(old).model == OLD_SIZES | {"n_kv_heads": 3}


@dataclass(frozen=True)
class NewerSizes:
    n_heads: int
    n_kv_heads: int


@dataclass(frozen=True)
class OtherSizes:
    n_experts: int


def test_sizes_are_read_by_whoever_knows_some_of_them(old):
    assert Record.read(old).sizes_as(NewerSizes) == NewerSizes(n_heads=3, n_kv_heads=3)
    describe(old, model=OLD_SIZES | {"n_kv_heads": 1, "n_new": 5})
    assert Record.read(old).sizes_as(NewerSizes) == NewerSizes(n_heads=3, n_kv_heads=1)
    with pytest.raises(ValueError, match="does not say its model's n_experts"):
        Record.read(old).sizes_as(OtherSizes)


def test_another_size_of_the_same_name_does(old):
    with pytest.raises(
        ValueError, match=r"a model with \{'n_heads': 3\}, this one has \{'n_heads': 4\}: use"
    ):
        RecordWriter(old, name="old-run", model=OLD_SIZES | {"n_heads": 4, "n_kv_heads": 2})


def test_keys_that_are_not_known_are_said_once_each(old):
    line = {"type": "note", "level": "info", "message": "kept", "colour": "red"}
    with (old / "probes.jsonl").open("a") as stream:
        stream.write(f"{json.dumps(line)}\n" * 2 + f"{json.dumps(line | {'size': 1})}\n")
    record = Record.read(old)
    assert [note.message for note in record.notes] == ["a note", "kept", "kept", "kept"]
    first, second = record.problems
    assert first.endswith("line 9: the key 'colour' is not known and was left out")
    assert second.endswith("line 11: the key 'size' is not known and was left out")


def test_axes_that_count_from_0_take_no_room_in_a_line(tmp_path):
    with RecordWriter(tmp_path, name="x", model={}) as writer:
        effects = Effects(torch.ones(2, 2, 3), torch.ones(2), None, ("layer", "head"), "z", "mean", "loss")
        writer.effects(0, 0, "ablation", "a", effects, 0.0)
    assert json.loads((tmp_path / "probes.jsonl").read_text())["coords"] == {}


@pytest.mark.parametrize(
    "coords",
    [
        {"layer": (9, 10), "head": (0, 1, 2)},
        {"layer": (0, 2), "neuron": (200, 201, 7)},
        {"set": (((9, 6), (10, 0)), (), ((0, 0),))},
    ],
)
def test_coords_come_back(coords):
    shape = [len(places) for places in coords.values()]
    line = json.loads(json.dumps({"coords": coords_to_json(coords)}))
    assert coords_from_json(Fields(line), tuple(coords), shape) == coords


@pytest.mark.parametrize(
    ("coords", "said"),
    [
        ({"neuron": [1, 2]}, "names the axis 'neuron'"),
        ({"layer": [1]}, "1 places on the axis 'layer', 'shape' has 2"),
        ({"layer": ["a", "b"]}, "whole number"),
        ({"set": [[[1, 2, 3]]]}, r"pairs \[layer, head\]"),
        ([], "must be an object"),
    ],
)
def test_coords_that_do_not_fit_are_refused(coords, said):
    dims, shape = (("set",), (1,)) if "set" in coords else (("layer", "head"), (2, 3))
    with pytest.raises(ValueError, match=said):
        coords_from_json(Fields({"coords": coords}), dims, shape)


@pytest.mark.parametrize("number", [0, 99])
def test_a_format_that_is_not_known_is_refused(old, number):
    describe(old, format=number)
    with pytest.raises(ValueError, match=r"run\.json is (damaged: 'format'|a record of format 99)"):
        Record.read(old)


def test_lines_of_a_record_that_is_described_meanwhile_are_no_earlier_runs(tmp_path):
    (tmp_path / "probes.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"holds the lines of an earlier run and no run\.json"):
        check_no_lines(tmp_path)
    write_whole(tmp_path / "run.json", lambda handle: handle.write(b"{}"))
    check_no_lines(tmp_path)
