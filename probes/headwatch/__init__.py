"""See what every attention head of a GPT-2 does, while it trains or once it is frozen."""

from headwatch import metrics, tasks
from headwatch.ablation import ablate, ablate_heads
from headwatch.cache import ActivationCache
from headwatch.effects import Effects, HeadEffects
from headwatch.gpt2 import find_gpt2
from headwatch.hooks import HookedGPT2, HookPoint, attach
from headwatch.names import act_name
from headwatch.pairs import PromptPair, PromptPairs
from headwatch.patching import patch_activations

__all__ = [
    "ActivationCache",
    "Effects",
    "HeadEffects",
    "HookPoint",
    "HookedGPT2",
    "PromptPair",
    "PromptPairs",
    "ablate",
    "ablate_heads",
    "act_name",
    "attach",
    "find_gpt2",
    "metrics",
    "patch_activations",
    "tasks",
]
