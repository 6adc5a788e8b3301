"""Files that a reader sees whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, write: Callable[..., object]) -> None:
    """Let `write` fill a file beside its place, then rename it; on an error nothing is left."""
    temporary = _beside(file, write)
    try:
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def create_whole(file: Path, data: bytes) -> bool:
    """Create a file with its data where there is none; of many that try at once, one succeeds. False: there is one."""
    temporary = _beside(file, lambda stream: stream.write(data))
    try:
        os.link(temporary, file)
    except FileExistsError:
        return os.stat(temporary).st_nlink > 1  # a network that asked twice has linked it the first time
    except OSError:
        return _create(file, data)  # a file system without links
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return True


def _beside(file: Path, write: Callable[..., object]) -> str:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(temporary, 0o644)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _create(file: Path, data: bytes) -> bool:
    try:
        with file.open("xb") as stream:
            stream.write(data)
    except FileExistsError:
        return False
    return True
