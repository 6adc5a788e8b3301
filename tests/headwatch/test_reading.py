"""One sentence for whatever a library raises."""

import json

import pytest

from headwatch.reading import reading


class Panic(BaseException):
    """What a library written in Rust ends in."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("bad header"), "bad header"),
        (OSError("first line\nsecond line"), "first line"),
        (RuntimeError("for field 'n':\n  expected int"), "for field 'n': expected int"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("model"), "it is not built as expected: 'model'"),
        (MemoryError(), "it asks for more memory than there is"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (Panic("index out of bounds"), "index out of bounds"),
    ],
)
def test_what_was_raised_is_said_in_one_line(error, said):
    with (
        pytest.raises(ValueError, match=r"^a.ckpt can't be read") as refused,
        reading("a.ckpt", "copy it again"),
    ):
        raise error
    assert str(refused.value) == f"a.ckpt can't be read ({said}): copy it again"
    assert refused.value.__cause__ is error


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_reader_who_stops_is_obeyed(stop):
    with pytest.raises(stop), reading("a.ckpt", "copy it again"):
        raise stop


def test_long_words_are_cut():
    with (
        pytest.raises(ValueError, match=r"^a.ckpt can't be read") as refused,
        reading("a.ckpt", "copy it again"),
    ):
        raise ValueError("x" * 10_000)
    assert len(str(refused.value)) < 400


def test_what_can_be_read_is_left_alone():
    with reading("a.json", "copy it again"):
        assert json.loads("{}") == {}
