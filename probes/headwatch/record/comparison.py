"""What changed between two passes on the same pairs, and what of it is more than noise."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from headwatch.cell_names import Coords, Place, cell_name, how_many, places_at
from headwatch.data_frame import data_frame_of_cells
from headwatch.pictures.cell_map import CellMap, cell_map, ranked
from headwatch.record.effect_entry import EffectEntry
from headwatch.record.per_pair import PerPair
from headwatch.record.steps import step_name
from headwatch.statistics.multiple_testing import expected_marks_by_chance
from headwatch.statistics.paired import PairedDifference, paired_difference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Cells = Float[np.ndarray, "*dims"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How much effects changed between two passes on the same pairs: after − before, pair by pair.

    Example:
        >>> change = hw.compare("headwatch_runs/my-run", 0, 60)
        >>> change
        Comparison(ablation/z/mean/loss, step 0 to step 60, 48 pairs; ... of 144 marked, most L9H9 +1.0..., ...)
        >>> found = change.significant(q=0.05)                             # true where it is more than noise
        >>> axes = change.plot()

    Attributes:
        before: the pass that is compared with.
        after: the pass whose effects are looked at.
        difference: after − before with its error, from the same pairs on both sides.
        n: how many pairs the two passes have in common.
        runs: the names of the two runs that the passes are of; None for two passes of one.
    """

    before: EffectEntry
    after: EffectEntry
    difference: PairedDifference
    n: int
    runs: tuple[str, str] | None = None

    @property
    def mean(self) -> Cells:
        """After − before, `[*dims]`, in the metric's unit; NaN where it can't be known."""
        return self.difference.mean

    @property
    def stderr(self) -> Cells:
        """The standard error of `mean`, `[*dims]`."""
        return self.difference.stderr

    @property
    def dims(self) -> tuple[str, ...]:
        """What the axes are, such as `("layer", "head")`."""
        return self.after.dims

    @property
    def coords(self) -> Coords:
        """Which layers, heads and so on the places on each axis are."""
        return self.after.coords

    def interval(self, level: float = 0.95) -> tuple[Cells, Cells]:
        """The lower and the upper end of each change's interval, by Student's t, `[*dims]` both.

        Args:
            level: the share of such intervals that hold the true change, over all pairs like these.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        return self.difference.interval(level)

    def p_values(self) -> Cells:
        """The probability of a change at least as large where there is none, `[*dims]`, each cell alone."""
        return self.difference.p

    def significant(self, q: float = 0.05) -> Bool[np.ndarray, "*dims"]:
        """Which changes are more than noise, by Benjamini and Hochberg's procedure (1995) over all cells.

        Args:
            q: the share of false ones among those that are marked, on average.

        Raises:
            ValueError: a q that is not between 0 and 1.
        """
        return self.difference.significant(q)

    def expected_by_chance(self, q: float = 0.05) -> float:
        """How many cells `significant` would mark by chance if nothing had changed: 0.055 at q = 0.05.

        Raises:
            ValueError: a q that is not between 0 and 1.
        """
        return expected_marks_by_chance(self.difference.p, q)

    def top(self, k: int = 10) -> list[tuple[Place, ...]]:
        """The k places that changed most, in either direction, the largest change first; NaN is left out.

        Raises:
            ValueError: a k below 1.
        """
        if k < 1:
            raise ValueError(f"k={k}: give 1 or more")
        return [places_at(self.coords, index) for index in ranked(self.mean)[:k]]

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a cell: a column for each of `dims`, then before, after, mean, stderr, low, high, p, significant.

        `before` and `after` are the effects of the two passes, `mean` is the change with its 95 % interval.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        low, high = self.interval()
        columns = {"before": self.before.mean, "after": self.after.mean, "mean": self.mean}
        columns |= {"stderr": self.stderr, "low": low, "high": high, "p": self.p_values()}
        return data_frame_of_cells(self.coords, columns | {"significant": self.significant()})

    def cell_map(self) -> CellMap:
        """The changes on two axes, as pictures and tables show them: by position, each head at its strongest one."""
        return self._cells

    @cached_property
    def _cells(self) -> CellMap:
        doubts = [entry.suspect for entry in (self.before, self.after) if entry.suspect is not None]
        return cell_map(
            self.mean,
            self.stderr,
            self.n,
            self.dims,
            self.coords,
            degrees_of_freedom=self.difference.degrees_of_freedom,
            suspect=np.any(doubts, axis=0) if doubts else None,
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the changes with matplotlib, a cell a head; what is more than noise is marked.

        Args:
            ax: where to draw; None for a new figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        from headwatch.pictures.heat_map import draw

        return draw(self.cell_map(), title=self.title, unit=self._unit, ax=ax)

    @property
    def title(self) -> str:
        """What is compared, such as `ablation/z/mean/loss, step 400 to step 600, 64 pairs`."""
        one, other = (step_name(entry.step) for entry in (self.before, self.after))
        if self.runs is not None:
            one, other = (f"{name} {step}" for name, step in zip(self.runs, (one, other), strict=True))
        return f"{self.after.label}, {one} to {other}, {how_many(self.n, 'pair')}"

    def __repr__(self) -> str:
        return f"Comparison({self.title}; {self._most()})"

    def _repr_html_(self) -> str:
        from headwatch.pictures.svg_map import svg_map

        return svg_map(self.cell_map(), title=self.title, unit=self._unit)

    @property
    def _unit(self) -> str:
        return f"change of the effect on {self.after.metric}"

    def _most(self) -> str:
        """How many cells are marked, and the one that changed most with its interval, in words."""
        found = next(iter(ranked(self.mean)), None)
        if found is None:
            return "no finite change"
        low, high = (float(end[found]) for end in self.interval())
        tested = int((~np.isnan(self.p_values())).sum())
        name = cell_name(self.dims, places_at(self.coords, found))
        change = f"most {name} {float(self.mean[found]):+.3g}, 95 % interval {low:+.3g} to {high:+.3g}"
        return f"{int(self.significant().sum())} of {tested} marked, {change}"


def comparison(before: EffectEntry, after: EffectEntry, old: PerPair, new: PerPair) -> Comparison:
    """What changed between two passes, of which the effect on every pair is known.

    Args:
        before: the pass that is compared with.
        after: the other one.
        old: its values, pair by pair.
        new: those of the other one.

    Raises:
        ValueError: they answer different questions, or have fewer than 2 pairs in common.
    """
    check_same_question(before, after)
    common = new.pairs[np.isin(new.pairs, old.pairs)]
    if len(common) < 2:
        raise ValueError(
            f"{after.label} has {how_many(len(common), 'pair')} in common at {_where(before, after)}: "
            "a comparison pair by pair needs 2 or more"
        )
    old, new = old.of(common), new.of(common)
    found = paired_difference(
        _whole(old), _whole(new), covariate_before=old.covariate, covariate_after=new.covariate
    )
    # A pair on which the metric has no number makes the head's effect NaN, and so its change.
    unknown = np.isnan(before.mean) | np.isnan(after.mean)
    cells = {name: np.where(unknown, np.nan, values) for name, values in vars(found).items()}
    return Comparison(before, after, replace(found, **cells), len(common))


def _whole(values: PerPair) -> Float[np.ndarray, "pair *dims"]:
    """Exact effects, of which none is missing where no covariate stands in for it."""
    return values.exact if values.covariate is not None else np.nan_to_num(values.exact)


def check_same_question(before: EffectEntry, after: EffectEntry) -> None:
    """Refuse two passes that answer different questions.

    Raises:
        ValueError: they do.
    """
    where = _where(before, after)
    for name in ("probe", "site", "kind", "metric", "dims", "coords"):
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            raise ValueError(
                f"{after.label} has {name} {one!r} and {other!r} at {where}: compare passes of one question"
            )
    if _first_order(before) != _first_order(after):
        raise ValueError(
            f"{after.label} is exact at one of {where} and first-order at the other: "
            "compare passes that were measured alike"
        )


def _where(before: EffectEntry, after: EffectEntry) -> str:
    if before.step == after.step:
        return f"step {before.step} of both runs"
    return f"steps {before.step} and {after.step}"


def _first_order(entry: EffectEntry) -> bool:
    """Whether no pair had an exact run."""
    return not entry.exact and entry.n_exact is None
