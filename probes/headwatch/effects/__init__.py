"""What an intervention did: effects per prompt pair, their mean, standard error, interval and significance."""

from headwatch.effects.effects import Effects
from headwatch.effects.head_effects import HeadEffects

__all__ = ["Effects", "HeadEffects"]
