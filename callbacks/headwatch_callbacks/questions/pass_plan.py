"""What of a pass can be spared, and how much of it is asked."""

from dataclasses import dataclass

LEAST_PAIRS = 8


@dataclass(frozen=True)
class Spare:
    """What a question can do without, once it knows its pairs.

    Attributes:
        levels: numbers of pairs that it can be asked of, falling, all of them first; none where there are no pairs.
        least: for each of these, the least budget of an estimate; none where it has only exact answers.
        n_estimates: how many estimates stand in the place of one exact sweep: one a metric.
        whole: what it costs as it was asked, as a share of the exact sweep on all pairs.
    """

    levels: tuple[int, ...] = ()
    least: tuple[float, ...] = ()
    n_estimates: int = 1
    whole: float = 1.0


@dataclass(frozen=True)
class Plan:
    """How much of a question is asked.

    Attributes:
        n_pairs: of how many pairs; None for all.
        budget: what each estimate may cost, as a share of the exact sweep on these pairs; None for the question
            as it is.
    """

    n_pairs: int | None = None
    budget: float | None = None
