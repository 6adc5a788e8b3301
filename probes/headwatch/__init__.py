"""See what every attention head of a GPT-2 does, while it trains or once it is frozen."""

from headwatch import metrics, tasks
from headwatch.ablation import ablate, ablate_head_sets, ablate_heads
from headwatch.attribution.attribute import attribute_heads
from headwatch.effects import Effects, HeadEffects
from headwatch.model.activation_cache import ActivationCache
from headwatch.model.activation_names import act_name
from headwatch.model.find import find_gpt2
from headwatch.model.hooked_model import HookedGPT2, HookPoint, attach
from headwatch.page import report, serve
from headwatch.patching import patch_activations, patch_paths
from headwatch.prompts.pairs import PromptPair, PromptPairs
from headwatch.record import Record, export
from headwatch.scores.attention_patterns import HeadScores, attention_patterns, head_scores
from headwatch.scores.copying import copying_scores
from headwatch.scores.gradient_importance import GradientHeadImportance
from headwatch.scores.in_context_learning import in_context_learning_score
from headwatch.statistics.control_variate import Combined, control_variate

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
