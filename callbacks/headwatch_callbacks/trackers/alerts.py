"""When a pass is worth an alert: a head changed since the one before by more than noise explains."""

from dataclasses import dataclass

from headwatch.cell_names import how_many
from headwatch.record.comparison import Comparison
from headwatch.record.steps import step_name
from headwatch_callbacks.questions.changes import PassChanges
from headwatch_callbacks.questions.result import ProbeResult

_NAMED = 5  # heads


@dataclass(frozen=True)
class Alert:
    """What an alert says.

    Attributes:
        title: the series, the step and how many heads changed.
        text: the heads that changed most, and how many chance would have marked so far.
    """

    title: str
    text: str


class ChangeAlerts:
    """Compares each pass with the one before of its series, on the same pairs."""

    def __init__(self) -> None:
        self._changes = PassChanges()
        self._compared: dict[str, int] = {}
        self._by_chance: dict[str, float] = {}

    def alert(self, result: ProbeResult) -> Alert | None:
        """The alert that a pass is worth; None where nothing changed but by noise, or it couldn't be compared."""
        change = self._changes.since_last(result)
        if change is None:
            return None
        self._count(result.label, change)
        return self._of(change) if change.significant().any() else None

    def _count(self, label: str, change: Comparison) -> None:
        self._compared[label] = self._compared.get(label, 0) + 1
        self._by_chance[label] = self._by_chance.get(label, 0.0) + change.expected_by_chance()

    def _of(self, change: Comparison) -> Alert:
        label, step = change.after.label, change.after.step
        shown = change.cell_map()
        marked = [cell for cell in shown.ranked() if shown.marked(*cell)]
        named = [
            f"{shown.cell_name(*cell)} {shown.values[cell]:+.3g} ± {shown.margin(*cell):.2g}"
            for cell in marked
        ]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        compared, chance = how_many(self._compared[label], "comparison"), self._by_chance[label]
        text = (
            f"Since {step_name(change.before.step)}, by more than noise: {', '.join(named[:_NAMED])}{more}. "
            f"If nothing had changed, chance would have marked {chance:.2g} in the {compared} of this series so far."
        )
        return Alert(f"{label}: {how_many(len(marked), shown.dims[-1])} changed at step {step}", text)
