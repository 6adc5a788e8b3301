"""A run's own record on disk: `run.json`, `probes.jsonl` and `attn/<step>.npz` in one directory."""

from headwatch.record.entries import (
    EffectEntry,
    Entry,
    FrameEntry,
    Note,
    PromptEntry,
    ScalarEntry,
    ScoreEntry,
)
from headwatch.record.export import export
from headwatch.record.reader import Frame, Record, Series, Tail
from headwatch.record.writer import RecordWriter

__all__ = [
    "EffectEntry",
    "Entry",
    "Frame",
    "FrameEntry",
    "Note",
    "PromptEntry",
    "Record",
    "RecordWriter",
    "ScalarEntry",
    "ScoreEntry",
    "Series",
    "Tail",
    "export",
]
