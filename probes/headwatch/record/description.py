"""`run.json`: the record's format, the run's identity and name, and its model's sizes.

Format 1 had no `coords` in its lines: every axis counted from 0. A record of it is read as it is, and becomes one of
format 2 when a run goes on with it.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwatch.record.fields import Fields
from headwatch.record.whole_file import create_whole, write_whole

FORMAT = 2


@dataclass(frozen=True)
class Description:
    """What a record says of itself.

    Attributes:
        format: the version of what its files hold.
        name: the run's name, for people.
        model: the model's sizes by name, such as `{"n_layers": 12, "n_heads": 12}`.
        id: what tells this run from every other, wherever its folder is; "" in a record of headwatch 0.3 or earlier.
    """

    format: int
    name: str
    model: Mapping[str, int]
    id: str = ""


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
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict):
            raise TypeError(f"it must hold a JSON object, not {type(found).__name__}")
        values = Fields(found)
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
        return Description(
            version, values.text("name"), model, "" if values.is_null("id") else values.text("id")
        )
    except ValueError as problem:
        raise ValueError(f"{file} is damaged: {problem}") from problem


def write_description(
    directory: Path, name: str, model: Mapping[str, int], run: str | None = None
) -> Description:
    """Describe a new record, or go on with one of the same model: sizes that only one of the two knows are kept.

    Args:
        directory: the record's directory.
        name: the run's name.
        model: the model's sizes.
        run: the run's identity, of which the record must be; None for that of the record, or a new one.

    Returns:
        What the record says of itself from now on.

    Raises:
        ValueError: the record is of a model with other sizes or of another run, damaged, or of a newer format; or
            there are lines and no description.
    """
    file = directory / "run.json"
    if not file.exists():
        check_no_lines(directory)
        new = Description(FORMAT, name, dict(model), run or secrets.token_hex(16))
        if create_whole(file, _json(new)):
            return new
    known = read_description(directory)
    _check_same(file, known.model, model)
    if run is not None and known.id not in ("", run):
        raise ValueError(f"{file} is that of another run by now: use another directory")
    identity = known.id or run or secrets.token_hex(16)
    wanted = Description(FORMAT, name, {**known.model, **model}, identity)
    if wanted != known:
        write_whole(file, lambda handle: handle.write(_json(wanted)))
    return wanted


def _json(description: Description) -> bytes:
    return json.dumps(vars(description), indent=1).encode()


def put_back(directory: Path, description: Description) -> None:
    """Describe lines again that are known to be of this record, whose `run.json` was deleted."""
    create_whole(directory / "run.json", _json(description))


def check_no_lines(directory: Path) -> None:
    """Refuse lines that nothing describes, of whichever run they are.

    Raises:
        ValueError: there are some.
    """
    lines = directory / "probes.jsonl"
    # In this order: a process that begins the record at this moment describes it before it writes a line.
    if lines.exists() and lines.stat().st_size and not (directory / "run.json").exists():
        raise ValueError(
            f"{directory} holds the lines of an earlier run and no run.json to say of which: give another folder, or"
            f" delete {lines}"
        )


def _check_same(file: Path, known: Mapping[str, int], model: Mapping[str, int]) -> None:
    # Only what both say: a newer headwatch may describe a model by more sizes.
    differing = [name for name in known if name in model and known[name] != model[name]]
    if differing:
        recorded, given = ({name: sizes[name] for name in differing} for sizes in (known, model))
        raise ValueError(
            f"{file} records a model with {recorded}, this one has {given}: use another directory"
        )
