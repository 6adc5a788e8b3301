"""What a reader would refuse is refused by the writer, and leaves nothing behind."""

import os

import numpy as np
import pytest
import torch

from headwatch.prompts.pairs import PromptPairs
from headwatch.record import CheckpointEntry, Record, RecordWriter
from tests.headwatch.record.test_per_pair import effects_of, pairs_of

MODEL = {"n_layers": 1, "n_heads": 1}
EYE = torch.eye(2).expand(1, 1, 1, 2, 2)


def left(directory):
    """What is on disk: the record's lines, and all files of arrays."""
    files = [name for _, _, names in os.walk(directory) for name in names if name.endswith((".npz", ".part"))]
    return (directory / "probes.jsonl").read_bytes(), files


@pytest.mark.parametrize(
    "write",
    [
        lambda writer: writer.effects(
            -5, 0, "ablation", "a", effects_of(np.ones((2, 1, 1))), 0.0, pairs=pairs_of(2)
        ),
        lambda writer: writer.effects(5, -1, "ablation", "a", effects_of(np.ones((2, 1, 1))), 0.0),
        lambda writer: writer.scores(-2, 0, "a", {"entropy": torch.ones(1, 1)}, 0.0),
        lambda writer: writer.scalars(-1, {"loss": 1.0}),
        lambda writer: writer.scalars(2**53, {"loss": 1.0}),
        lambda writer: writer.patterns(-7, 0, "a", EYE, [["x", "y"]]),
        lambda writer: writer.checkpoint(CheckpointEntry(-1, "checkpoint", "00")),
    ],
)
def test_what_no_reader_takes_is_not_written(tmp_path, write):
    with RecordWriter(tmp_path, name="x", model=MODEL) as writer:
        with pytest.raises(ValueError, match=r"no reader would take .* whole number from 0 up") as told:
            write(writer)
        assert "\n" not in str(told.value)
        assert left(tmp_path) == (b"", [])
        writer.scalars(0, {"loss": 1.0})
    assert Record.read(tmp_path).problems == ()


def test_maps_of_another_model_are_refused(tmp_path):
    with RecordWriter(tmp_path, name="x", model={"n_layers": 2, "n_heads": 1}) as writer:
        with pytest.raises(ValueError, match="of a model with n_layers 2"):
            writer.patterns(0, 0, "a", EYE, [["x", "y"]])
        assert left(tmp_path) == (b"", [])


def test_a_line_that_cannot_be_written_takes_its_file_with_it(tmp_path, monkeypatch):
    with RecordWriter(tmp_path, name="x", model=MODEL) as writer:
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:-1]))
        with pytest.raises(OSError, match="bytes fitted"):
            writer.patterns(7, 0, "a", EYE, [["x", "y"]])
        monkeypatch.undo()
        writer.patterns(8, 0, "a", EYE, [["x", "y"]])
    record = Record.read(tmp_path)
    # The line lacked nothing but its end: finished by the next one, it would name a file that is not there.
    assert [entry.step for entry in record.frames] == [8]
    assert record.unreadable == 1
    assert left(tmp_path)[1] == ["8.npz"]


def test_prompts_of_any_pairs_can_be_read(tmp_path):
    ids = torch.zeros(2, 3, dtype=torch.long)
    pairs = PromptPairs.from_tokens(
        ids, ids, torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long)
    )
    with RecordWriter(tmp_path, name="x", model={}) as writer:
        writer.prompts(pairs)
    assert Record.read(tmp_path).problems == ()
