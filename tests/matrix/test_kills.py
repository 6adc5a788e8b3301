"""What a training said it had written is there after kill -9 at any of its writes, and the training goes on with it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from headwatch.record import Record
from tests.matrix import processes
from tests.matrix.kills import SAVED_AFTER, STEPS, WHEN, train


def killed(folder, at, when):
    """What a killed training had said, as steps; None where the process came to its end before."""
    try:
        processes.run(train, folder, at, when, folder=folder)
    except RuntimeError as error:
        if "ended with -9" not in str(error):
            raise
        file = folder / "said"
        return [int(line) for line in file.read_text().split()] if file.exists() else []
    return None


def lost(folder, at, when):
    """What is wrong after a kill, and after going on; empty where nothing is."""
    said = killed(folder, at, when)
    wrong = [] if said is not None else ["was not killed"]
    if said:
        record = Record.read(folder / "record")
        wrong += [f"lost {series} {step}" for step in said for series in missing(record, step)]
        wrong += [text for text in record.problems if "line" not in text]
        wrong += maps_that_do_not_read(record)
    try:
        processes.run(train, folder, folder=folder)
    except RuntimeError as error:
        return [*wrong, f"can't go on: {str(error)[-600:]}"]
    record = Record.read(folder / "record")
    # A checkpoint of a step is written before its passes: killed in between, training goes on behind them.
    wanted = [step for step in range(STEPS) if step + 1 not in SAVED_AFTER]
    wrong += [f"misses {series} {step}" for step in wanted for series in missing(record, step)]
    if record.unreadable > 1:
        wrong.append(f"{record.unreadable} lines can't be read")
    return [f"{when} write {at}: {text}" for text in wrong + maps_that_do_not_read(record)]


def missing(record, step):
    have = {
        "effects": {entry.step for entry in record.effects},
        "scores": {entry.step for entry in record.scores},
        "maps": {frame.step for frame in record.frames},
    }
    return [series for series, steps in have.items() if step not in steps]


def maps_that_do_not_read(record):
    wrong = []
    for frame in record.frames:
        try:
            record.patterns(frame.step, frame.label)
        except (ValueError, KeyError) as error:
            wrong.append(f"maps of {frame.step}: {error}")
    return wrong


def moments(folder, n):
    """So many moments, evenly spread over the writes of a whole training and the places in each."""
    [writes] = processes.run(train, folder / "whole", folder=folder / "whole")
    all_of_them = [(write, when) for write in range(writes) for when in WHEN]
    assert len(all_of_them) > n
    return [all_of_them[place * len(all_of_them) // n] for place in range(n)]


def check(folder, n):
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(
            lambda moment: lost(folder / f"{moment[0]}-{moment[1]}", *moment), moments(folder, n)
        )
        assert [text for each in found for text in each] == []


def test_nothing_is_lost_at_some_moments(tmp_path):
    check(tmp_path, 3)


@pytest.mark.matrix
def test_nothing_is_lost_at_fifty_moments(tmp_path):
    check(tmp_path, 54)
