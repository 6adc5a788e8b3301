"""What befalls a record while a run writes it: deleted, replaced, taken over, its passes measured again."""

import os
import shutil

import numpy as np
import pytest
import torch

from headwatch.record import Record, RecordWriter, claim
from headwatch.record.owner import TakenOverError
from headwatch.record.per_pair import read_per_pair
from tests.headwatch.record.test_per_pair import effects_of, pairs_of

MAPS = torch.eye(2).expand(1, 1, 1, 2, 2)


def a_pass(writer, step, value=1.0, label="a"):
    writer.effects(step, 0, "ablation", label, effects_of(np.full((2, 1, 1), value)), 0.0, pairs=pairs_of(2))


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.npz"))


@pytest.fixture(params=[True, False])
def writer(request, tmp_path):
    """A training, and an evaluation that adds to a record."""
    folder = tmp_path / "deep" / "run"
    claimed = claim(folder) if request.param else None
    with RecordWriter(folder, name="x", model={}, claim=claimed) as opened:
        yield opened


def test_a_deleted_record_is_begun_again_and_says_so(writer):
    a_pass(writer, 1)
    shutil.rmtree(writer.directory.parent)
    with pytest.warns(
        RuntimeWarning, match="was deleted or replaced while a run wrote it: what it held is missing"
    ):
        a_pass(writer, 2)
    a_pass(writer, 3)
    record = Record.read(writer.directory)
    assert [entry.step for entry in record.effects] == [2, 3]
    assert [note.level for note in record.notes] == ["warning"]
    assert read_per_pair(writer.directory, record.effects[0]).exact.max() == 1.0


@pytest.mark.parametrize("gone", ["probes.jsonl", "run.json", "per_pair"])
def test_a_part_that_is_deleted_is_made_again(writer, gone):
    a_pass(writer, 1)
    path = writer.directory / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if gone == "probes.jsonl":
        with pytest.warns(RuntimeWarning, match="was deleted or replaced"):
            a_pass(writer, 2)
    else:
        a_pass(writer, 2)
    record = Record.read(writer.directory)
    assert record.effects[-1].step == 2
    assert (record.notes != ()) == (gone == "probes.jsonl")


def test_a_record_that_was_moved_away_and_back_is_gone_on_with(writer, tmp_path):
    a_pass(writer, 1)
    shutil.copytree(writer.directory, tmp_path / "copy")
    shutil.rmtree(writer.directory)
    os.rename(tmp_path / "copy", writer.directory)
    a_pass(writer, 2)
    record = Record.read(writer.directory)
    assert [entry.step for entry in record.effects] == [1, 2]
    assert record.notes == ()


def test_another_runs_record_in_its_place_is_left_alone(writer):
    a_pass(writer, 1)
    shutil.rmtree(writer.directory)
    with RecordWriter(writer.directory, name="other", model={}) as other:
        other.scalars(7, {"loss": 1.0})
    with pytest.raises(ValueError, match=r"is that of another run by now"):
        a_pass(writer, 2)
    assert Record.read(writer.directory).effects == ()


def test_what_was_taken_over_is_not_written_to(tmp_path):
    folder = tmp_path / "run"
    writer = RecordWriter(folder, name="x", model={}, claim=claim(folder))
    a_pass(writer, 1)
    (folder / "owner-1.json").unlink()  # as its refusal says, by somebody who thinks it dead
    later = RecordWriter(folder, name="x", model={}, claim=claim(folder, goes_on=True))
    a_pass(later, 2)
    with pytest.raises(TakenOverError, match="was taken over by process"):
        a_pass(writer, 3)
    writer.close()
    a_pass(later, 4)
    assert [entry.step for entry in Record.read(folder).effects] == [1, 2, 4]


def test_the_file_of_a_pass_that_is_measured_again_goes(writer):
    a_pass(writer, 1, 1.0)
    a_pass(writer, 2, 1.0)
    a_pass(writer, 2, 1.0, label="b")
    writer.patterns(2, 0, "maps", MAPS, [["x", "y"]])
    writer.close()
    with RecordWriter(writer.directory, name="x", model={}) as again:
        a_pass(again, 2, -1.0)
        a_pass(again, 2, -2.0)
        again.patterns(2, 0, "maps", MAPS, [["x", "y"]])
    record = Record.read(writer.directory)
    counting = {f"per_pair/{entry.per_pair}" for entry in record.effects}
    counting |= {f"attn/{entry.file}" for entry in record.frames}
    assert files(writer.directory) == sorted(counting)
    values = {(e.step, e.label): read_per_pair(writer.directory, e).exact.max() for e in record.effects}
    assert values == {(1, "a"): 1.0, (2, "a"): -2.0, (2, "b"): 1.0}
    assert record.patterns(2).tokens == (("x", "y"),)


def test_a_file_goes_after_the_line_that_takes_its_place(writer, monkeypatch):
    a_pass(writer, 2)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    with pytest.raises(OSError, match="only 9 of"):
        a_pass(writer, 2, -1.0)
    monkeypatch.undo()
    assert files(writer.directory) == ["per_pair/2.npz"]
    [entry] = Record.read(writer.directory).effects
    assert read_per_pair(writer.directory, entry).exact.max() == 1.0


def test_a_file_that_another_line_names_stays(writer):
    a_pass(writer, 2)
    line = (writer.directory / "probes.jsonl").read_bytes()
    writer.close()
    (writer.directory / "probes.jsonl").write_bytes(line + line.replace(b'"label":"a"', b'"label":"b"'))
    with RecordWriter(writer.directory, name="x", model={}) as again:
        a_pass(again, 2, -1.0)
    for entry in Record.read(writer.directory).effects:
        read_per_pair(writer.directory, entry)


def test_what_killed_runs_left_is_swept_when_training_goes_on(tmp_path):
    with RecordWriter(tmp_path, name="x", model={}, claim=claim(tmp_path)) as writer:
        a_pass(writer, 1)
    for name in ("2.npz", ".abc.part", "mine.txt", "1-1.npz"):
        (tmp_path / "per_pair" / name).write_bytes(b"")
        os.utime(tmp_path / "per_pair" / name, (1, 1))
    os.utime(tmp_path / "per_pair" / "1.npz", (1, 1))
    (tmp_path / "per_pair" / "3.npz").write_bytes(b"")  # of a pass that another process is writing
    RecordWriter(tmp_path, name="x", model={}, claim=claim(tmp_path, goes_on=True)).close()
    assert sorted(os.listdir(tmp_path / "per_pair")) == ["1.npz", "3.npz", "mine.txt"]
