"""A run's own record on disk, one directory: `run.json`, `probes.jsonl`, `attn/<step>.npz`, `per_pair/<step>.npz`.

Reading one needs numpy; only its writer, which is imported when it is first used, needs torch.
"""

from typing import TYPE_CHECKING

from headwatch.lazy import lazy_names
from headwatch.record.change_points import SeriesChangePoints, change_points
from headwatch.record.claim import Claim, claim
from headwatch.record.compare import compare
from headwatch.record.comparison import Comparison
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
from headwatch.record.events import Event, Events, events
from headwatch.record.export import export
from headwatch.record.reader import AttentionFrame, Record, Series, Tail

if TYPE_CHECKING:
    from headwatch.record.writer import RecordWriter

__all__ = [
    "AttentionEntry",
    "AttentionFrame",
    "CheckpointEntry",
    "Claim",
    "Comparison",
    "EffectEntry",
    "Entry",
    "Event",
    "Events",
    "Note",
    "PromptEntry",
    "Record",
    "RecordWriter",
    "ScalarEntry",
    "ScoreEntry",
    "Series",
    "SeriesChangePoints",
    "Tail",
    "change_points",
    "claim",
    "compare",
    "events",
    "export",
]

__getattr__, _ = lazy_names(__name__, {"RecordWriter": "writer"})
