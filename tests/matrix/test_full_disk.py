"""A small disk that really fills up under the record and each tracker: training is the same, and is told why."""

import subprocess
from contextlib import contextmanager

import pytest

from headwatch.record import Record
from tests.matrix import processes
from tests.matrix.full_disk import TRACKERS, train
from tests.matrix.trace import compare


@contextmanager
def small_disk(folder):
    """A file system of 2 MB."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


TOLD_ONCE = (
    "could not write ablation",
    "could not close the record",
    "could not write a report",
    "sends nothing more",
)


def check(tmp_path, tracker):
    (tmp_path / "wide").mkdir()
    [(bare, _)] = processes.run(train, tmp_path / "wide", tracker, False, folder=tmp_path / "bare")
    with small_disk(tmp_path / "disk") as disk:
        [(trace, told)] = processes.run(train, disk, tracker, True, folder=tmp_path / "full")
        record = Record.read(disk / "record")
    assert {column: places for column, places in compare(bare, trace).items() if places} == {}
    assert [entry.step for entry in record.effects] == [-1, -1, 1, 1]  # what was written before is there
    assert record.problems == ()
    assert all("missing, because writing it failed" in note.message for note in record.notes)
    kinds = [[kind for kind in TOLD_ONCE if kind in text] for text in told]
    assert all(len(found) == 1 for found in kinds), told
    assert len({found[0] for found in kinds}) == len(told), told
    assert ["could not write ablation"] in kinds
    assert "No space left" in told[0]


def test_the_record_of_a_full_disk(tmp_path):
    check(tmp_path, "none")


@pytest.mark.matrix
@pytest.mark.parametrize("tracker", TRACKERS[1:])
def test_a_tracker_on_a_full_disk(tmp_path, monkeypatch, tracker):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "disk" / "trackio"))
    check(tmp_path, tracker)
