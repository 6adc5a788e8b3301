"""`run.json`: the record's format, the run's name and its model's sizes.

Format 1 had no `coords` in its lines: every axis counted from 0. A record of it is read as it is, and becomes one of
format 2 when a run goes on with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwatch.record.fields import Fields
from headwatch.record.whole_file import write_whole

FORMAT = 2


@dataclass(frozen=True)
class Description:
    """What a record says of itself.

    Attributes:
        format: the version of what its files hold.
        name: the run's name, for people.
        model: the model's sizes by name, such as `{"n_layers": 12, "n_heads": 12}`.
    """

    format: int
    name: str
    model: Mapping[str, int]


def read_description(directory: Path) -> Description:
    """What the record in a directory says of itself.

    Raises:
        FileNotFoundError: the directory holds no record.
        ValueError: `run.json` is damaged, or of a format that this headwatch is too old for.
    """
    file = directory / "run.json"
    if not file.is_file():
        raise FileNotFoundError(f"{directory} holds no record (no run.json): pass a run's own directory")
    try:
        values = Fields(json.loads(file.read_bytes()))
        version = values.integer("format")
    except (ValueError, AttributeError, TypeError, RecursionError) as problem:
        raise ValueError(f"{file} is damaged: {problem}") from problem
    if version < 1:
        raise ValueError(f"{file} is damaged: 'format' must be 1 or more, not {version}")
    if version > FORMAT:
        raise ValueError(
            f"{file} is a record of format {version}, this headwatch reads up to {FORMAT}: use a newer headwatch"
        )
    try:
        sizes = values.nested("model")
        model = {name: sizes.integer(name) for name in sizes.keys}
        return Description(version, values.text("name"), model)
    except ValueError as problem:
        raise ValueError(f"{file} is damaged: {problem}") from problem


def write_description(directory: Path, name: str, model: Mapping[str, int]) -> None:
    """Describe a new record, or go on with one of the same model: sizes that only one of the two knows are kept.

    Raises:
        ValueError: the record is of a model with other sizes, damaged, or of a newer format.
    """
    file = directory / "run.json"
    known = read_description(directory) if file.exists() else None
    if known is not None:
        _check_same(file, known.model, model)
    wanted = Description(FORMAT, name, {**(known.model if known else {}), **model})
    if wanted != known:
        text = json.dumps(vars(wanted), indent=1)
        write_whole(file, lambda handle: handle.write(text.encode()))


def _check_same(file: Path, known: Mapping[str, int], model: Mapping[str, int]) -> None:
    # Only what both say: a newer headwatch may describe a model by more sizes.
    differing = [name for name in known if name in model and known[name] != model[name]]
    if differing:
        recorded, given = ({name: sizes[name] for name in differing} for sizes in (known, model))
        raise ValueError(
            f"{file} records a model with {recorded}, this one has {given}: use another directory"
        )
