"""How much of a question is answered so far, for a progress bar."""

import math
from collections.abc import Callable

from headwatch.interventions.batch import Sweep
from headwatch.interventions.options import Progress
from headwatch.prompts.pairs import PromptPairs


class Ticks:
    """Counts the work done, in pairs, and says so.

    Args:
        progress: called with the pairs done and all pairs.
        total: all pairs.
        sweeps: how many sweeps run on all of them.
    """

    def __init__(self, progress: Progress | None, total: int, sweeps: int) -> None:
        self.progress, self.total, self.sweeps, self.done = progress, total, sweeps, 0.0

    def of(self, n_pairs: int, sweep: Sweep, pairs: PromptPairs) -> Callable[[int], None]:
        """Counts interventions on so many pairs."""
        count = math.prod(len(places) for places in sweep.coords(pairs.clean.shape[1]).values()) * self.sweeps

        def done(interventions: int) -> None:
            self.done += n_pairs * interventions / count
            if self.progress is not None:
                self.progress(round(self.done), self.total)

        return done
