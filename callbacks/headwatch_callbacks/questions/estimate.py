"""How exact a sweep's answer shall be, where it may be estimated: checked before the first pass."""

from dataclasses import dataclass

from headwatch.estimates.target import Target, TargetStderr, check_budget
from headwatch.interventions.options import Options
from headwatch.interventions.sites import get_site


@dataclass(frozen=True)
class Estimate:
    """What a user asked of estimates; `headwatch.estimate_heads` says what both mean.

    Attributes:
        budget: a share of the exact sweep's cost.
        target_stderr: the standard error that is wanted.

    Raises:
        ValueError: a value that is none for its option.
    """

    budget: float | None = None
    target_stderr: TargetStderr = None

    def __post_init__(self) -> None:
        check_budget(self.budget)
        Target.of(self.target_stderr)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to estimate; the exact sweep answers else."""
        return self.budget is not None or self.target_stderr is not None

    def check(self, site: str, options: Options) -> None:
        """Refuse estimates of what can't be estimated.

        Raises:
            ValueError: such a question.
        """
        reason = cannot_be_estimated(site, options)
        if self.wanted and reason is not None:
            name = "target_stderr" if self.budget is None else "budget"
            raise ValueError(f"{name} can't take effect: {reason}, and only heads as a whole are estimated")


def cannot_be_estimated(site: str, options: Options) -> str | None:
    """Why a question has only exact answers; None where it can be estimated."""
    if get_site(site).unit != "head":
        return f"site={site!r} has no heads"
    return "by_position=True asks of each position" if options.by_position else None
