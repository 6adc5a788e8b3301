"""Lightning callbacks that watch every head of a GPT-2 while it trains.

The names below are imported when they are first used: the command line lives in this package too, and must
answer `--help` without waiting for torch.
"""

from typing import TYPE_CHECKING

from headwatch import __version__ as __version__
from headwatch.lazy import lazy_names

if TYPE_CHECKING:
    from headwatch_callbacks.lightning_trainer.callbacks import (
        ActivationPatching,
        AttentionMaps,
        HeadAblation,
    )
    from headwatch_callbacks.lightning_trainer.gradient_importance import GradientImportance
    from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
    from headwatch_callbacks.lightning_trainer.trainer_run import probe_share, record_folder
    from headwatch_callbacks.questions import Question
    from headwatch_callbacks.questions.prompt_source import TaskPairs
    from headwatch_callbacks.trackers import Trackers

__all__ = [
    "ActivationPatching",
    "AttentionMaps",
    "GradientImportance",
    "HeadAblation",
    "ProbeCallback",
    "Question",
    "TaskPairs",
    "Trackers",
    "probe_share",
    "record_folder",
]

_HOMES = {
    "ActivationPatching": "lightning_trainer.callbacks",
    "AttentionMaps": "lightning_trainer.callbacks",
    "GradientImportance": "lightning_trainer.gradient_importance",
    "HeadAblation": "lightning_trainer.callbacks",
    "ProbeCallback": "lightning_trainer.probe_callback",
    "Question": "questions",
    "TaskPairs": "questions.prompt_source",
    "Trackers": "trackers",
    "probe_share": "lightning_trainer.trainer_run",
    "record_folder": "lightning_trainer.trainer_run",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
