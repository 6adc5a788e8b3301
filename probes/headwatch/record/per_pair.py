"""The effect on every pair, by which passes are compared: about 1.7 bytes a value, 16 kB for 144 heads and 64 pairs.

A cell's values are rounded to 1/1000 of its largest one, so that reading them is off by at most 0.05 % of that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float, Int16, UInt64

from headwatch.record.effect_entry import EffectEntry
from headwatch.record.npz import Wanted, read_npz

MOST_VALUES = 1_000_000  # of a pass with other cells than heads, such as one by position
PerCell = Float[np.ndarray, "*dims"]
PerPairValues = Float[np.ndarray, "pair *dims"]

_STEPS = 1000
_MISSING = np.iinfo(np.int16).min


@dataclass(frozen=True, eq=False)
class PerPair:
    """What one pass found for each pair.

    Attributes:
        exact: the effect, `[pair, *dims]`, NaN where no exact run was made.
        covariate: what was known of every pair, `[pair, *dims]`, in the effect's unit; None without one.
        pairs: which pairs they are, `[pair]`, by `headwatch.prompts.fingerprint`.
    """

    exact: PerPairValues
    covariate: PerPairValues | None
    pairs: UInt64[np.ndarray, " pair"]

    def of(self, pairs: UInt64[np.ndarray, " some"]) -> "PerPair":
        """The values of some of the pairs, in the order in which they are given."""
        place = {pair: row for row, pair in enumerate(self.pairs.tolist())}
        rows = [place[pair] for pair in pairs.tolist()]
        return PerPair(self.exact[rows], None if self.covariate is None else self.covariate[rows], pairs)

    @property
    def kept(self) -> bool:
        """Whether a record keeps them: one value a head always, other cells up to a million values."""
        return self.exact.ndim == 3 or self.exact.size <= MOST_VALUES

    def save(self, stream: IO[bytes]) -> None:
        """Write an npz file."""
        arrays: dict[str, Any] = {"pairs": self.pairs}
        arrays["exact"], arrays["exact_scale"] = pack(self.exact)
        if self.covariate is not None:
            arrays["covariate"], arrays["covariate_scale"] = pack(self.covariate)
        np.savez_compressed(stream, **arrays)

    @property
    def of_every_pair(self) -> PerPairValues:
        """One value a pair, `[pair, *dims]`, whose mean is the estimate and whose spread its error.

        The exact effect where all pairs had a run. Else, for covariate c, residual r = exact − c and n runs on N pairs,
        c + mean(r), to which a pair that had a run adds (r − mean(r)) · N / n: the mean is that of the difference
        estimator, and the variance of the mean over pairs that of its terms (Särndal, Swensson & Wretman 1992).
        """
        if self.covariate is None:
            return self.exact
        residual = self.exact - self.covariate
        had_run = ~np.isnan(residual)
        n = np.where(had_run.any(0), had_run.sum(0), np.nan)
        level = np.where(had_run, residual, 0.0).sum(0) / n
        own = np.where(had_run, residual - level, 0.0) * (len(residual) / n)
        return (self.covariate + level + own).astype(np.float32)


def pack(values: PerPairValues) -> tuple[Int16[np.ndarray, "pair *dims"], PerCell]:
    """Whole numbers from −1000 to 1000, and how much one is in each cell; what is not finite is the least number."""
    finite = np.isfinite(values)
    largest = np.where(finite, np.abs(values), 0).max(0, initial=0)
    scale = (largest / _STEPS).astype(np.float32)
    steps = np.where(finite, values, 0) / np.where(scale > 0, scale, 1)
    return np.where(finite, np.rint(steps), _MISSING).astype(np.int16), scale


def unpack(packed: Int16[np.ndarray, "pair *dims"], scale: PerCell) -> PerPairValues:
    """The values that `pack` was given, to within 0.05 % of each cell's largest; NaN where they were not finite."""
    return np.where(packed == _MISSING, np.nan, packed * scale).astype(np.float32)


def read_per_pair(directory: Path, entry: EffectEntry) -> PerPair:
    """The effect of a pass on every pair.

    Args:
        directory: the record's directory.
        entry: the pass.

    Raises:
        ValueError: the record keeps none for this pass, or the file is missing or damaged.
    """
    if entry.per_pair is None:
        raise ValueError(
            f"{directory} keeps no values of every pair for {entry.label} at step {entry.step}: an older headwatch "
            f"kept none, and none are kept of more than {MOST_VALUES:,} values that are not heads'"
        )
    file = directory / "per_pair" / entry.per_pair
    if not file.is_file():
        raise ValueError(f"{file} is missing: copy a run's whole folder, or ask for another step")
    cells = entry.mean.shape
    values = {"exact": Wanted(np.int16, (entry.n, *cells)), "exact_scale": Wanted(np.float32, cells)}
    pairs = {"pairs": Wanted(np.uint64, (entry.n,))}
    covariate = {name.replace("exact", "covariate"): want for name, want in values.items()}
    found = read_npz(file, values | pairs, optional=covariate)
    known = unpack(found["covariate"], found["covariate_scale"]) if "covariate" in found else None
    return PerPair(unpack(found["exact"], found["exact_scale"]), known, found["pairs"])
