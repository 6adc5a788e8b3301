"""Memory that two processes see. It has no name and no file that could be left behind, however they end."""

import mmap
import os
import tempfile
from typing import final

import torch

from headwatch_callbacks.background.snapshot import Memory


@final
class SharedMemory:
    """So many bytes; those that nobody writes to take no memory.

    Args:
        size: how many.
        handle: the file descriptor of memory that another process made; None = make it.

    Attributes:
        handle: the file descriptor, for the other process.
        bytes: the memory.
    """

    def __init__(self, size: int, handle: int | None = None) -> None:
        self.size = size
        self.handle = _new(size) if handle is None else handle
        self.bytes: Memory = torch.frombuffer(mmap.mmap(self.handle, size), dtype=torch.uint8)

    def reserve(self, size: int) -> None:
        """Have the system find the first so many bytes now, not when they are first written to."""
        self.bytes[:size].zero_()

    def close(self) -> None:
        """Give it back, once nobody looks at it any more."""
        os.close(self.handle)


def _new(size: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("headwatch")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle
