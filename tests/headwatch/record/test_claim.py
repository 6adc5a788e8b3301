"""One training writes a record at a time: races, kills, jobs that start again, and records that are another run's."""

import json
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from headwatch.record import Record, RecordWriter, claim
from headwatch.record import owner as owner_module
from headwatch.record.description import read_description
from headwatch.record.owner import TakenOverError, current_owner

FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
PATIENCE = 600  # seconds, of processes that wait for each other on a busy machine
SENTENCE = "is being written by another run, process"


def started(folder, **how):
    """A training that writes its record."""
    return RecordWriter(folder, name="x", model={}, claim=claim(folder, **how))


@contextmanager
def another_process(folder, killed=True):
    """A training in a process of its own, alive within the block; then it is killed or comes to its end."""
    here, there = FORK.Pipe()

    def train():
        writer = started(folder)
        writer.scalars(5, {"loss": 1.0})
        there.send("ready")
        there.recv()
        writer.close()

    process = FORK.Process(target=train)
    process.start()
    assert here.recv() == "ready"
    yield
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    else:
        here.send("end")
    process.join()


def winners(folders, at_once=4):
    """How many of several processes that start together get each record."""
    begin, end, won = FORK.Barrier(at_once), FORK.Barrier(at_once), FORK.Array("i", len(folders))

    def start():
        for place, folder in enumerate(folders):
            begin.wait(PATIENCE)
            try:
                claim(folder)
                with won.get_lock():
                    won[place] += 1
            except Exception as refused:
                if SENTENCE not in str(refused):
                    for barrier in (begin, end):
                        barrier.abort()
                    raise
            end.wait(PATIENCE)  # the one that has it is alive until all have tried

    processes = [FORK.Process(target=start) for _ in range(at_once)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * at_once
    return list(won)


def test_of_many_that_start_at_once_one_gets_the_record(tmp_path):
    assert winners([tmp_path / str(turn) for turn in range(25)]) == [1] * 25


def test_of_many_that_follow_a_killed_one_one_gets_the_record(tmp_path):
    folders = [tmp_path / str(turn) for turn in range(10)]

    def die():
        for folder in folders:
            started(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=die)
    process.start()
    process.join()
    assert winners(folders) == [1] * 10
    assert all((folder / "attempt-1" / "run.json").exists() for folder in folders)


@pytest.mark.parametrize("how", [{}, {"goes_on": True}])
def test_a_record_that_is_being_written_is_refused_in_one_sentence(tmp_path, how):
    with another_process(tmp_path / "run"):
        with pytest.raises(ValueError, match=f"{SENTENCE} .* give another record=") as told:
            claim(tmp_path / "run", **how)
        assert "\n" not in str(told.value)
    claim(tmp_path / "run", **how)


def test_the_record_of_a_run_that_ended_is_refused(tmp_path):
    with another_process(tmp_path / "run", killed=False):
        pass
    before = sorted((file.name, file.read_bytes()) for file in (tmp_path / "run").iterdir())
    with pytest.raises(ValueError, match="already holds the record of another run: give another record="):
        claim(tmp_path / "run")
    assert sorted((file.name, file.read_bytes()) for file in (tmp_path / "run").iterdir()) == before


def test_a_run_takes_the_place_of_one_that_was_killed_and_keeps_what_it_left(tmp_path):
    folder = tmp_path / "run"
    with another_process(folder):
        pass
    killed = read_description(folder).id
    with started(folder) as writer:
        writer.scalars(1, {"loss": 2.0})
        assert (
            "ended without a word: the record of that attempt is kept in attempt-1" in writer._claim.told[0]
        )
    assert Record.read(folder).scalars["loss"].steps.tolist() == [1]
    assert Record.read(folder / "attempt-1").scalars["loss"].steps.tolist() == [5]
    assert read_description(folder / "attempt-1").id == killed
    assert read_description(folder).id not in ("", killed)


def test_a_second_attempt_is_kept_beside_the_first(tmp_path):
    for step in (1, 2, 3):
        writer = started(tmp_path)
        writer.scalars(step, {"loss": 1.0})
        writer.close("interrupted")
    kept = [Record.read(tmp_path / f"attempt-{turn}").scalars["loss"].steps.tolist() for turn in (1, 2)]
    assert kept == [[1], [2]]


def test_a_run_that_was_interrupted_makes_room_too(tmp_path):
    writer = started(tmp_path)
    writer.scalars(5, {"loss": 1.0})
    writer.close("interrupted")
    assert "was interrupted" in claim(tmp_path).told[0]
    assert Record.read(tmp_path / "attempt-1").scalars["loss"].steps.tolist() == [5]


def test_going_on_is_by_identity(tmp_path):
    with started(tmp_path / "a") as first, started(tmp_path / "b"):
        assert first.run != ""
    os.rename(tmp_path / "a", tmp_path / "elsewhere")
    with started(tmp_path / "elsewhere", goes_on=True, run=first.run) as again:
        assert again.run == first.run
    with pytest.raises(ValueError, match="b holds the record of another run than the checkpoint's"):
        claim(tmp_path / "b", goes_on=True, run=first.run)


def test_lines_without_a_description_are_refused(tmp_path):
    with started(tmp_path / "run") as writer:
        writer.scalars(5, {"loss": 1.0})
    (tmp_path / "run" / "run.json").unlink()
    for use in (claim, lambda folder: RecordWriter(folder, name="x", model={})):
        with pytest.raises(ValueError, match=r"lines of an earlier run and no run\.json") as told:
            use(tmp_path / "run")
        assert "\n" not in str(told.value)
    assert (tmp_path / "run" / "probes.jsonl").read_text().count("\n") == 1


def elsewhere(folder, seconds_ago, **changes):
    """As if the owner of a record were on a machine whose processes can't be looked up."""
    known = current_owner(folder)
    values = {"place": "elsewhere", "host": "node7"} | changes
    text = {name: value for name, value in asdict(replace(known, **values)).items() if name != "number"}
    file = folder / f"owner-{known.number}.json"
    file.write_text(json.dumps(text))
    os.utime(file, (time.time() - seconds_ago,) * 2)
    return file


def test_a_run_on_another_machine_is_alive_until_it_was_quiet_for_long(tmp_path):
    started(tmp_path)
    elsewhere(tmp_path, 60)
    with pytest.raises(
        ValueError, match=rf"{SENTENCE} \d+ on node7, 60 s ago.* wait for 15 minutes, or delete .*owner-1"
    ):
        claim(tmp_path)
    elsewhere(tmp_path, 16 * 60)
    claim(tmp_path)


def test_a_file_that_was_half_written_is_an_owner_that_nobody_can_look_up(tmp_path):
    started(tmp_path)
    file = elsewhere(tmp_path, 0)
    file.write_text('{"token": ')
    with pytest.raises(ValueError, match="on an unknown machine, 0 s ago"):
        claim(tmp_path)
    os.utime(file, (time.time() - 3600,) * 2)
    claim(tmp_path)


def test_a_job_that_was_started_again_has_no_earlier_process(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    started(tmp_path)
    elsewhere(tmp_path, 1)
    with pytest.raises(ValueError, match=SENTENCE):
        claim(tmp_path)  # another task of the same job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    claim(tmp_path)


def test_a_process_that_got_the_number_of_a_dead_one_is_another(tmp_path):
    writer = started(tmp_path)
    file = tmp_path / "owner-1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "1"}))
    claim(tmp_path)
    with pytest.raises(TakenOverError, match="was taken over by process"):
        writer.scalars(1, {"loss": 1.0})


def test_a_run_shows_that_it_is_alive(tmp_path, monkeypatch):
    writer = started(tmp_path)
    file = tmp_path / "owner-1.json"
    for act in (writer.alive, lambda: writer.scalars(1, {"loss": 1.0})):
        os.utime(file, (1, 1))
        act()
        assert file.stat().st_mtime == 1
        with monkeypatch.context() as patched:
            patched.setattr(owner_module, "TOUCH_SECONDS", -1)
            act()
        assert file.stat().st_mtime > 1


def test_without_links_one_gets_the_record_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    started(tmp_path)
    with pytest.raises(ValueError, match=SENTENCE):
        claim(tmp_path)


def test_nothing_is_left_of_earlier_owners(tmp_path):
    for _ in range(3):
        started(tmp_path, goes_on=True).close()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("owner")] == ["owner-3.json"]


def test_evaluations_add_to_a_record_beside_its_training(tmp_path):
    with started(tmp_path) as training, RecordWriter(tmp_path, name="x", model={}) as other:
        training.scalars(1, {"loss": 1.0})
        other.scalars(2, {"loss": 2.0})
    assert Record.read(Path(tmp_path)).scalars["loss"].steps.tolist() == [1, 2]
