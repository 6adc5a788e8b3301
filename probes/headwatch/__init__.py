"""See what every attention head of a GPT-2 does, while it trains or once it is frozen.

Names are imported when they are first used: `import headwatch` costs nothing until a model is asked something.
"""

from typing import TYPE_CHECKING

from headwatch.lazy import lazy_names

if TYPE_CHECKING:
    from headwatch import metrics, plot, tasks
    from headwatch.ablation import ablate, ablate_head_sets, ablate_heads
    from headwatch.attribution.attribute import attribute_heads
    from headwatch.effects import Effects, EstimatedEffects
    from headwatch.effects.head_effects import HeadEffects
    from headwatch.estimates.estimate import estimate_heads
    from headwatch.model.activation_cache import ActivationCache
    from headwatch.model.activation_names import act_name
    from headwatch.model.find import find_architecture
    from headwatch.model.hooked_model import HookedModel, HookPoint, attach
    from headwatch.page import report, serve
    from headwatch.patching import patch_activations, patch_paths
    from headwatch.prompts.pairs import PromptPair, PromptPairs
    from headwatch.record import Comparison, Events, Record, change_points, compare, events, export
    from headwatch.scores.attention_patterns import HeadScores, attention_patterns, head_scores
    from headwatch.scores.copying import copying_scores
    from headwatch.scores.gradient_importance import GradientHeadImportance
    from headwatch.scores.in_context_learning import in_context_learning_score
    from headwatch.statistics.control_variate import Combined, control_variate

__version__ = "0.4.0"

__all__ = [
    "ActivationCache",
    "Combined",
    "Comparison",
    "Effects",
    "EstimatedEffects",
    "Events",
    "GradientHeadImportance",
    "HeadEffects",
    "HeadScores",
    "HookPoint",
    "HookedModel",
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
    "change_points",
    "compare",
    "control_variate",
    "copying_scores",
    "estimate_heads",
    "events",
    "export",
    "find_architecture",
    "head_scores",
    "in_context_learning_score",
    "metrics",
    "patch_activations",
    "patch_paths",
    "plot",
    "report",
    "serve",
    "tasks",
]

_HOMES = {
    "ActivationCache": "model.activation_cache",
    "Combined": "statistics.control_variate",
    "Comparison": "record",
    "Effects": "effects",
    "EstimatedEffects": "effects",
    "Events": "record",
    "GradientHeadImportance": "scores.gradient_importance",
    "HeadEffects": "effects.head_effects",
    "HeadScores": "scores.attention_patterns",
    "HookPoint": "model.hooked_model",
    "HookedModel": "model.hooked_model",
    "PromptPair": "prompts.pairs",
    "PromptPairs": "prompts.pairs",
    "Record": "record",
    "ablate": "ablation",
    "ablate_head_sets": "ablation",
    "ablate_heads": "ablation",
    "act_name": "model.activation_names",
    "attach": "model.hooked_model",
    "attention_patterns": "scores.attention_patterns",
    "attribute_heads": "attribution.attribute",
    "change_points": "record",
    "compare": "record",
    "control_variate": "statistics.control_variate",
    "copying_scores": "scores.copying",
    "estimate_heads": "estimates.estimate",
    "events": "record",
    "export": "record",
    "find_architecture": "model.find",
    "head_scores": "scores.attention_patterns",
    "in_context_learning_score": "scores.in_context_learning",
    "metrics": "metrics",
    "patch_activations": "patching",
    "patch_paths": "patching",
    "plot": "plot",
    "report": "page",
    "serve": "page",
    "tasks": "tasks",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
