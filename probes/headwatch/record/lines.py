"""One line of a record: its bytes, and back. What a reader would refuse is not written: both have one schema."""

import json

from headwatch.record.entries import KINDS, Entry
from headwatch.record.fields import Fields


def parse(line: bytes) -> tuple[Entry, tuple[str, ...]]:
    """One line of a record, and the keys in it that no reader of its type knows.

    Raises:
        ValueError: it is not JSON, or not what its `type` promises.
    """
    try:
        values = json.loads(line)
    except RecursionError as problem:
        raise ValueError("nested too deeply to be a record's line") from problem
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {line[:40].decode(errors='replace')}")
    fields = Fields(values)
    kind = fields.text("type")
    if kind not in KINDS:
        raise ValueError(f"unknown type {kind!r}: written by a newer headwatch? Known are {sorted(KINDS)}")
    return KINDS[kind].from_json(fields), fields.unread


def line_of(entry: Entry) -> bytes:
    """An entry as a line, with its end.

    Raises:
        ValueError: the entry is one that no reader would take, such as one of step -5.
    """
    try:
        line = json.dumps(entry.to_json(), separators=(",", ":"), allow_nan=False).encode()
        parse(line)
    except (ValueError, TypeError) as problem:
        raise ValueError(f"a line that no reader would take is not written: {problem}") from problem
    return line + b"\n"
