"""Arrays of an npz file whose types and sizes are known: looked at before they are read.

A file says in its first bytes how large its arrays are, and 3 MB of zeros may claim to be gigabytes: what is larger
than its pass is refused before memory is taken for it.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_BYTES = 2**31  # of all arrays of a file
MOST_BYTES_UNSIZED = 2**27  # where the record doesn't say how large they are
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Wanted:
    """What an array must be.

    Attributes:
        dtype: its type, such as `np.uint8`.
        shape: its shape; None for an axis of any length.
    """

    dtype: type[np.generic]
    shape: tuple[int | None, ...]

    def fits(self, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
        """Whether an array is of this type and shape."""
        alike = [want in (None, size) for want, size in zip(self.shape, shape, strict=False)]
        return dtype == self.dtype and len(shape) == len(self.shape) and all(alike)


def read_npz(
    file: Path, wanted: Mapping[str, Wanted], *, optional: Mapping[str, Wanted] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a file, by name.

    Args:
        file: the npz file.
        wanted: what each array must be; others in the file are not looked at.
        optional: the same for arrays that may be missing.

    Raises:
        ValueError: the file is missing or damaged, lacks an array, or has one of another type or shape.
    """
    try:
        with zipfile.ZipFile(file) as members:
            held = {name.removesuffix(".npy") for name in members.namelist()}
            expected = {**wanted, **{name: want for name, want in (optional or {}).items() if name in held}}
            _check_sizes(members, expected)
            return {name: _read(members, name) for name in expected}
    except Exception as problem:  # whatever a damaged byte leads zipfile, zlib and NumPy to raise
        raise ValueError(f"{file} cannot be read: {problem or type(problem).__name__}") from problem


def check_bytes(total: int, sized: bool = True) -> None:
    """Refuse more than a file may hold, whether it is to be read or to be written.

    Raises:
        ValueError: it is more.
    """
    most = MOST_BYTES if sized else MOST_BYTES_UNSIZED
    if total > most:
        raise ValueError(f"{total:,} bytes of arrays, a file of a record holds at most {most:,}")


def _check_sizes(members: zipfile.ZipFile, expected: Mapping[str, Wanted]) -> None:
    total = 0
    for name, want in expected.items():
        shape, dtype = _header(members, name)
        if not want.fits(dtype, shape):
            sizes = ["any" if size is None else size for size in want.shape]
            raise ValueError(f"{name!r} is {dtype} {list(shape)}, its pass has {want.dtype.__name__} {sizes}")
        total += math.prod(shape) * dtype.itemsize
    check_bytes(total, sized=all(None not in want.shape for want in expected.values()))


def _header(members: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with members.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{name!r} is of npy version {version}")
        shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype


def _read(members: zipfile.ZipFile, name: str) -> np.ndarray:
    with members.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
