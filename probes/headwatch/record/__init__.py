"""A run's own record on disk: `run.json`, `probes.jsonl` and `attn/<step>.npz` in one directory."""

from headwatch.record.entries import (
    AttentionEntry,
    CheckpointEntry,
    EffectEntry,
    Entry,
    Note,
    PromptEntry,
    ScalarEntry,
    ScoreEntry,
)
from headwatch.record.export import export
from headwatch.record.reader import AttentionFrame, Record, Series, Tail
from headwatch.record.writer import RecordWriter

__all__ = [
    "AttentionEntry",
    "AttentionFrame",
    "CheckpointEntry",
    "EffectEntry",
    "Entry",
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
