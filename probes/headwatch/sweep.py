"""The sweep engine: every intervention of a sweep, exact, at a cost near the arithmetic that it needs.

An intervention changes nothing below its layer nor before its position, so it starts from the plain run there and
runs only the layers and positions above. The heads of a layer are one batch; batches that are small travel up
together with those of other layers. In the last layer only the answer position goes past keys and values, and
only what the metric reads is unembedded. Cost: for all heads of an L-layer model about L/2 forwards per head
fewer than one forward per intervention takes; `benchmarks/` has the figures.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.jobs import Job, tokens_a_row
from headwatch.plain_run import PlainRun
from headwatch.readout import Reader
from headwatch.rows import Rows


@dataclass
class SweepEngine:
    """Runs jobs within a memory bound.

    Attributes:
        max_tokens: how many tokens of interventions are under way at once.
    """

    max_tokens: int

    def run(
        self,
        plain: PlainRun,
        reader: Reader,
        count: int,
        jobs: Iterable[Job],
        climb: Callable[[Sequence[Job]], list[Rows]],
        done: Callable[[int], None] = lambda count: None,
    ) -> Float[Tensor, "pair n"]:
        """The metric under each intervention, `[pair, intervention]`; that of the plain run where no job is.

        Args:
            plain: the run that is intervened on.
            reader: reads the metric.
            count: how many interventions there are.
            jobs: those that can change what is read.
            climb: takes jobs that run together to the point where the metric reads them.
            done: called with the number of interventions after each batch of them.
        """
        results = reader.read_plain()[:, None].repeat(1, count)
        waiting = list(jobs)
        skipped = count - sum(len(job.index) for job in waiting)
        while waiting:
            taken = self._take(waiting, plain)
            rows = self._try(reader, taken, climb)
            if rows is None:
                waiting = [part for job in taken for part in job.halves()] + waiting[len(taken) :]
                continue
            for index, values in rows:
                results[:, index] = values.T
            waiting = waiting[len(taken) :]
            done(sum(len(job.index) for job in taken))
        done(skipped)
        return results

    def _take(self, waiting: Sequence[Job], plain: PlainRun) -> list[Job]:
        """The next jobs that go up together: of one first position, within the memory bound."""
        taken, tokens = list[Job](), 0
        for job in waiting:
            tokens += len(job.index) * tokens_a_row(plain, job.start)
            if taken and (job.start != taken[0].start or tokens > self.max_tokens):
                break
            taken.append(job)
        return taken

    def _try(
        self, reader: Reader, jobs: Sequence[Job], climb: Callable[[Sequence[Job]], list[Rows]]
    ) -> list[tuple[Tensor, Tensor]] | None:
        """Each batch of rows' indices and metric; None when memory ran out and the bound was halved."""
        try:
            return [(rows.index, reader.read(rows)) for rows in climb(jobs)]
        except RuntimeError as error:
            if not _out_of_memory(error) or (len(jobs) == 1 and len(jobs[0].index) == 1):
                raise
        self.max_tokens = max(1, self.max_tokens // 2)
        warnings.warn(
            f"out of memory: going on with max_tokens_per_batch={self.max_tokens}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def default_max_tokens(device: torch.device, d_mlp: int) -> int:
    """How many tokens are under way at once where the user sets no bound.

    On a CPU so many that a hidden layer of the MLP stays within 24 MB: larger blocks of memory are returned to the
    system after each use and cost more to get again than to fill. On a GPU what fits in a quarter of the free memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(256, free // 4 // (4 * 4 * d_mlp))
    return max(256, 24 * 2**20 // (4 * d_mlp))
