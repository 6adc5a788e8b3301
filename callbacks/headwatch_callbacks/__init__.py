"""Lightning callbacks that watch every head of a GPT-2 while it trains.

The names below are imported when they are first used: the command line lives in this package too, and must
answer `--help` without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwatch_callbacks.ablation import HeadAblation
    from headwatch_callbacks.gradients import GradientImportance
    from headwatch_callbacks.patching import ActivationPatching
    from headwatch_callbacks.patterns import AttentionMaps
    from headwatch_callbacks.prompts import TaskPairs
    from headwatch_callbacks.run import probe_share, record_folder
    from headwatch_callbacks.sinks import Trackers

__all__ = [
    "ActivationPatching",
    "AttentionMaps",
    "GradientImportance",
    "HeadAblation",
    "TaskPairs",
    "Trackers",
    "probe_share",
    "record_folder",
]

_HOMES = {
    "ActivationPatching": "patching",
    "AttentionMaps": "patterns",
    "GradientImportance": "gradients",
    "HeadAblation": "ablation",
    "TaskPairs": "prompts",
    "Trackers": "sinks",
    "probe_share": "run",
    "record_folder": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
