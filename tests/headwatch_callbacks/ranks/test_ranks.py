"""Processes that wait for each other as long as it takes, agree on what failed, and notice when one is gone."""

import json
import subprocess
import sys

import pytest

from headwatch_callbacks.ranks.ranks import Ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of three processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.headwatch_callbacks.ranks.three_processes",
        folder,
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert said.returncode == 0, said.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


def test_the_first_one_gets_what_came_of_all(found):
    assert [each["gathered"] for each in found] == [[0, 10, 20], [], []]


def test_what_one_raises_is_told_to_the_first_one_and_stops_nobody(found):
    assert [each["one failed"] for each in found] == [
        [0, 1, "RankFailedError('rank 2 found ValueError: odd')"],
        [],
        [],
    ]


def test_all_know_what_the_first_one_has_found_or_raised(found):
    assert [each["from first"] for each in found] == ["by 0"] * 3
    elsewhere = "RankFailedError: rank 0 found ValueError: odd"
    assert [each["first failed"] for each in found] == ["ValueError: odd", elsewhere, elsewhere]


def test_work_may_take_longer_than_the_timeout(found):
    assert [each["long"] for each in found] == [[None] * 3, [], []]


def test_nobody_waits_for_one_that_has_given_up_then_or_later(found):
    left = "RankLostError: another process of this training has left a pass: what it says tells why"
    assert [each["one gave up"] for each in found] == ["KeyboardInterrupt: ", left, left]
    assert [each["and then"] for each in found] == ["RankLostError: this one has left a pass", left, left]


def test_one_that_stands_still_is_noticed(found):
    lost = "RankLostError: a process of this training is gone, or was not heard from for 4 s"
    assert [each["one stands still"] for each in found[:2]] == [lost, lost]


def test_one_process_does_all_by_itself():
    ranks = Ranks.alone()
    assert (ranks.size, ranks.rank, ranks.is_first) == (1, 0, True)
    [outcome] = ranks.gather(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outcome.result()
    with pytest.raises(ZeroDivisionError):
        ranks.from_first(lambda: 1 / 0)
