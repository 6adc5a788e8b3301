"""The file of a record's lines: one unbuffered write a line, into the file that stands at its place."""

import os
from pathlib import Path


class LineFile:
    """Appends lines to a file, which is made where it is missing.

    Args:
        file: where it is.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._handle: int | None = None
        self._size, self._failed = 0, False
        self._open()
        # A line that an earlier process left unfinished is finished, so that it doesn't swallow the next.
        self._between = b"\n" if self._ends_in_mid_line() else b""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._handle is None

    def append(self, line: bytes) -> None:
        """Write a line with its end.

        Raises:
            OSError: not all of it could be written; what was counts for nothing, even if it lacks no more than its end.
        """
        assert self._handle is not None
        if self._failed and self._ends_in_mid_line():
            self._between = b" cut off\n"
        data = self._between + line
        self._between, self._failed = b"", True
        written = os.write(self._handle, data)
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes fitted into {self.file}")
        self._failed = False
        self._size = os.fstat(self._handle).st_size

    def is_gone(self) -> bool:
        """Whether the file at its place is missing, or another one."""
        assert self._handle is not None
        try:
            return not os.path.samestat(os.stat(self.file), os.fstat(self._handle))
        except FileNotFoundError:
            return True

    def reopen(self) -> bool:
        """Open the file that is at its place now, or a new one; whether lines that were written are missing in it."""
        known = self._size
        self.close()
        self._open()
        return self._size < known

    def close(self) -> None:
        """Close the file; what was appended is on disk already."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def _open(self) -> None:
        self._handle = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._handle).st_size
        self._failed = False

    def _ends_in_mid_line(self) -> bool:
        assert self._handle is not None
        size = os.fstat(self._handle).st_size
        return size > 0 and os.pread(self._handle, 1, size - 1) != b"\n"
