"""Where the records are in a folder, such as one that a training wrote into."""

import os
from collections.abc import Iterator
from pathlib import Path

DEEPEST = 3


def find_records(directory: Path, depth: int = 0) -> Iterator[Path]:
    """The directories that hold a record: this one, or those up to three folders below it, by name.

    Links to elsewhere are not followed, and a record is not searched for others.
    """
    if (directory / "run.json").is_file():
        yield directory
        return
    if depth == DEEPEST:
        return
    try:
        with os.scandir(directory) as items:
            folders = sorted(item.name for item in items if item.is_dir(follow_symlinks=False))
    except OSError:  # removed meanwhile, or another's
        if depth == 0:
            raise
        return
    for name in folders:
        yield from find_records(directory / name, depth + 1)


def only_record(directory: Path) -> Path:
    """The directory of the record that a folder is or holds; the folder itself where there is none.

    Raises:
        ValueError: it holds several.
    """
    found = list(find_records(directory)) if directory.is_dir() else []
    if len(found) > 1:
        named = ", ".join(str(record) for record in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ValueError(f"{directory} holds {len(found)} runs, name one of them: {named}{more}")
    return found[0] if found else directory
