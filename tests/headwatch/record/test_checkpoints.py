"""Which checkpoints a record is about: what is written comes back, in any format that is read."""

import json
import shutil
from pathlib import Path

import pytest

from headwatch.record import CheckpointEntry, Record, RecordWriter, export
from headwatch.record.lines import parse

OLD = Path(__file__).parents[2] / "data" / "record_format_1"  # written by headwatch 0.1
FIRST = CheckpointEntry(20, "checkpoint-20", "aa" * 32)
SECOND = CheckpointEntry(100, "last.ckpt", "bb" * 32)


def test_checkpoints_come_back_by_step(tmp_path):
    with RecordWriter(tmp_path, name="x", model={}) as writer:
        writer.checkpoint(SECOND)
        writer.checkpoint(FIRST)
    record = Record.read(tmp_path)
    assert record.checkpoints == (FIRST, SECOND)
    assert record.problems == ()


def test_of_two_lines_on_one_checkpoint_the_later_counts(tmp_path):
    trained_on = CheckpointEntry(FIRST.step, FIRST.name, SECOND.sha256)
    with RecordWriter(tmp_path, name="x", model={}) as writer:
        for entry in (FIRST, trained_on):
            writer.checkpoint(entry)
    assert Record.read(tmp_path).checkpoints == (trained_on,)


def test_a_record_without_checkpoints_has_none_and_takes_them(tmp_path):
    old = Path(shutil.copytree(OLD, tmp_path / "run"))
    record = Record.read(old)
    assert record.checkpoints == ()
    with RecordWriter(old, name=record.name, model=record.model) as writer:
        writer.checkpoint(FIRST)
    read = Record.read(old)
    assert (read.checkpoints, len(read.effects), read.problems) == ((FIRST,), 3, ())


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"step": -1}, "'step' must be a whole number"), ({"sha256": None}, "'sha256' must be text")],
)
def test_a_damaged_line_is_one_sentence(changes, said):
    line = {"type": "checkpoint", "step": 20, "name": "checkpoint-20", "sha256": "aa" * 32}
    assert parse(json.dumps(line).encode()) == (CheckpointEntry(20, "checkpoint-20", "aa" * 32), ())
    with pytest.raises(ValueError, match=said):
        parse(json.dumps(line | changes).encode())


def test_a_table_of_the_record_leaves_checkpoints_out(tmp_path):
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        writer.checkpoint(FIRST)
        writer.scalars(20, {"loss": 1.0})
    export(tmp_path / "run", tmp_path / "run.csv")
    assert "checkpoint" not in (tmp_path / "run.csv").read_text()
