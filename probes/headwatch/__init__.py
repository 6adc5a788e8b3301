"""See what every attention head of a GPT-2 does, while it trains or once it is frozen."""

from headwatch import metrics, tasks
from headwatch.ablation import ablate, ablate_head_sets, ablate_heads
from headwatch.attribution import attribute_heads
from headwatch.cache import ActivationCache
from headwatch.control_variate import Combined, control_variate
from headwatch.copying import copying_scores
from headwatch.effects import Effects, HeadEffects
from headwatch.finding import find_gpt2
from headwatch.gradients import GradientHeadImportance
from headwatch.hooks import HookedGPT2, HookPoint, attach
from headwatch.in_context import in_context_learning_score
from headwatch.names import act_name
from headwatch.page import report, serve
from headwatch.pairs import PromptPair, PromptPairs
from headwatch.patching import patch_activations, patch_paths
from headwatch.patterns import HeadScores, attention_patterns, head_scores
from headwatch.record import Record, export

__all__ = [
    "ActivationCache",
    "Combined",
    "Effects",
    "GradientHeadImportance",
    "HeadEffects",
    "HeadScores",
    "HookPoint",
    "HookedGPT2",
    "PromptPair",
    "PromptPairs",
    "Record",
    "ablate",
    "ablate_head_sets",
    "ablate_heads",
    "act_name",
    "attach",
    "attention_patterns",
    "attribute_heads",
    "control_variate",
    "copying_scores",
    "export",
    "find_gpt2",
    "head_scores",
    "in_context_learning_score",
    "metrics",
    "patch_activations",
    "patch_paths",
    "report",
    "serve",
    "tasks",
]
