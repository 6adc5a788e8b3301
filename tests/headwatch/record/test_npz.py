"""Files of arrays that others damaged or made up: one sentence each, and no memory for what a pass can't hold."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from headwatch.record.npz import Wanted, check_bytes, read_npz

WANTED = {"a": Wanted(np.uint8, (2, None)), "b": Wanted(np.float32, (3,))}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(
        path, a=np.arange(8, dtype=np.uint8).reshape(2, 4), b=np.ones(3, np.float32), c=np.ones(9)
    )
    return path


def test_what_is_wanted_is_read(file):
    found = read_npz(file, {"a": WANTED["a"]}, optional={"b": WANTED["b"], "d": WANTED["b"]})
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], [[0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(np.int8, (2, 4)), r"'a' is uint8 \[2, 4\], its pass has int8 \[2, 4\]"),
        (Wanted(np.uint8, (2, 5)), r"'a' is uint8 \[2, 4\], its pass has uint8 \[2, 5\]"),
        (Wanted(np.uint8, (2, 4, None)), r"its pass has uint8 \[2, 4, 'any'\]"),
        (Wanted(np.uint8, (2,)), r"its pass has uint8 \[2\]"),
    ],
)
def test_another_type_or_shape_is_refused(file, wanted, said):
    with pytest.raises(ValueError, match=rf"x\.npz cannot be read: .*{said}"):
        read_npz(file, {"a": wanted})


def test_every_byte_may_be_damaged(file):
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_npz(file, WANTED)
        except ValueError as problem:
            assert "cannot be read" in str(problem)  # noqa: PT017


def test_a_small_file_takes_no_large_memory(tmp_path):
    file = tmp_path / "bomb.npz"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 500000000), }"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(
            "a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**7)
        )
    tracemalloc.start()
    with pytest.raises(ValueError, match="1,000,000,000 bytes of arrays, a file of a record holds at most"):
        read_npz(file, {"a": WANTED["a"]})
    with pytest.raises(ValueError, match="its pass has"):
        read_npz(file, {"a": Wanted(np.uint8, (2, 10))})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


def test_what_is_too_much_to_read_is_too_much_to_write():
    check_bytes(2**31)
    with pytest.raises(ValueError, match="2,147,483,649 bytes"):
        check_bytes(2**31 + 1)
