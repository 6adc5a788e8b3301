"""Reads an offline wandb run back: LevelDB's log framing around wandb's protobuf records."""

import json
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import HistoryItem, Record, SummaryItem

_FILE_HEADER, _BLOCK = 7, 32768


def records(folder: Path) -> list[Record]:
    """Every record of a finished offline run, in order of writing; its helper may still be writing the last ones."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = _read(folder)
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.02)
    raise TimeoutError(f"wandb did not finish writing {folder}")


def _read(folder: Path) -> list[Record]:
    [file] = folder.glob("*.wandb")
    data, place, parts, found = file.read_bytes(), _FILE_HEADER, b"", []
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:  # a block's tail too short for a header
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if place + 7 + length > len(data):  # the rest is still being written
            break
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def history(folder: Path) -> list[dict[str, object]]:
    """What each `log` call wrote, by key."""
    rows = [record.history for record in records(folder) if record.WhichOneof("record_type") == "history"]
    return [_values(row.item) for row in rows]


def summary(folder: Path) -> dict[str, object]:
    """What was put into the run's summary by name."""
    updates = [record.summary for record in records(folder) if record.WhichOneof("record_type") == "summary"]
    return {key: value for update in updates for key, value in _values(update.update).items()}


def _values(items: Iterable[HistoryItem | SummaryItem]) -> dict[str, object]:
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(item.value_json)
    return found
