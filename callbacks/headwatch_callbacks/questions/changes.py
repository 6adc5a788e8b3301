"""What changed since the pass before, on the same pairs, against the noise of the change."""

from headwatch.record.comparison import Comparison, comparison
from headwatch.record.effect_entry import EffectEntry
from headwatch.record.from_effects import entry_of, per_pair_of
from headwatch.record.per_pair import PerPair
from headwatch_callbacks.questions.result import ProbeResult


class PassChanges:
    """Compares each pass with the one before of its series."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[EffectEntry, PerPair]] = {}

    def since_last(self, result: ProbeResult) -> Comparison | None:
        """What changed; None for the first pass of a series.

        Not compared are passes without pairs, those of so many values that a record keeps none, and those that have
        no pairs in common with the one before.
        """
        if result.effects is None or result.pairs is None:
            return None
        values = per_pair_of(result.effects, result.pairs)
        if not values.kept:
            return None
        entry = entry_of(
            result.effects,
            step=result.step,
            epoch=result.epoch,
            probe=result.probe,
            label=result.label,
            seconds=result.seconds,
        )
        before = self._last.get(result.label)
        self._last[result.label] = (entry, values)
        if before is None:
            return None
        try:
            return comparison(before[0], entry, before[1], values)
        except ValueError:  # a comparison less, while numbers and pictures go on
            return None
