"""What an intervention did: effects per prompt pair, their mean, standard error, interval and significance."""

from headwatch.effects.effects import Effects

__all__ = ["Effects"]  # HeadEffects is apart, since torchmetrics takes longer to import than all else here
