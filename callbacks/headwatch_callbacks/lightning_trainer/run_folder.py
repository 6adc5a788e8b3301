"""Where the record of a Trainer's run is: in a folder of its own, or where its checkpoint says that it went on."""

from datetime import datetime
from itertools import count
from pathlib import Path

import lightning.pytorch as pl

from headwatch.record.description import read_description
from headwatch.record.find import find_records
from headwatch_callbacks.trackers.training_recorder import RunIdentity


def new_folder(trainer: pl.Trainer) -> Path:
    """A folder that no other run has, made under the trainer's `default_root_dir` and named after its logger."""
    root = _root(trainer)
    logger = trainer.logger
    parts = [] if logger is None else [logger.name, logger.version]
    named = "-".join(str(part) for part in parts if part not in (None, ""))
    wanted = "".join(c if c.isalnum() or c in "-_." else "-" for c in named).strip(".")
    wanted = wanted or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    root.mkdir(parents=True, exist_ok=True)
    for turn in count(1):
        folder = root / (wanted if turn == 1 else f"{wanted}-{turn}")
        try:
            folder.mkdir()
        except FileExistsError:  # also where another process makes it at this moment
            continue
        return folder
    raise AssertionError("unreachable")


def folder_of(run: RunIdentity, trainer: pl.Trainer) -> Path | None:
    """Where the record of a run is now, by its identity: where it was, or under the trainer's `default_root_dir`."""
    root = _root(trainer)
    records = find_records(root) if root.is_dir() else ()
    return next((folder for folder in (run.folder, *records) if _id_of(folder) == run.id), None)


def _root(trainer: pl.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "headwatch_runs"


def _id_of(folder: Path) -> str | None:
    try:
        return read_description(folder).id
    except (OSError, ValueError):
        return None
