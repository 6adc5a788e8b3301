"""What an intervention did: effects per prompt pair, their mean, standard error, interval and significance."""

from headwatch.effects.effects import Effects
from headwatch.effects.estimated import EstimatedEffects
from headwatch.effects.measured import MeasuredCells

# HeadEffects is apart, since torchmetrics takes longer to import than all else here.
__all__ = ["Effects", "EstimatedEffects", "MeasuredCells"]
