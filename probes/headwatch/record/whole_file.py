"""Files that a reader sees whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(file: Path, write: Callable[..., object]) -> None:
    """Let `write` fill a file beside its place, then rename it; on an error nothing is left."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
