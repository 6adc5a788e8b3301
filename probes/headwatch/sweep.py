"""The sweep engine: every intervention of a sweep, exact, at a cost near the arithmetic that it needs.

An intervention changes nothing below its layer nor before its position, so it starts from the plain run there and
runs only the layers and positions above. The heads of a layer are one batch; batches that are small travel up
together with those of other layers. In the last layer only the answer position goes past keys and values, and
only what the metric reads is unembedded. Cost: for all heads of an L-layer model about L/2 forwards per head
fewer than one forward per intervention takes; `benchmarks/` has the figures.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.batch import Batch, Sweep
from headwatch.entries import Job, enter, stage_of
from headwatch.plain_run import PlainRun
from headwatch.readout import Reader
from headwatch.rows import Rows, merged, through_attention, through_mlp

NewValues = Callable[[int], Tensor]


@dataclass
class SweepEngine:
    """Runs sweeps within a memory bound.

    Attributes:
        max_tokens: how many tokens of interventions are under way at once.
    """

    max_tokens: int

    def run(
        self,
        plain: PlainRun,
        batch: Batch,
        sweep: Sweep,
        new: NewValues,
        *,
        start: int = 0,
        done: Callable[[int], None] = lambda count: None,
    ) -> Float[Tensor, "pair n"]:
        """The metric under each intervention, `[pair, intervention]`, interventions in the order of the sweep's axes.

        Args:
            plain: the run that is intervened on, of the batch's prompts up to the position that is read.
            batch: its prompts.
            sweep: which interventions.
            new: the values to write in a layer, broadcastable to the site's activation.
            start: the first position at which new values can differ from old ones.
            done: called with the number of interventions after each batch of them.
        """
        reader = Reader(plain, batch, sweep.metric)
        count = torch.Size(sweep.shape(batch)).numel()
        results = reader.read_plain()[:, None].repeat(1, count)
        waiting = list(_jobs(plain, batch, sweep, start, self.max_tokens))
        skipped = count - sum(len(job.index) for job in waiting)
        while waiting:
            taken = self._take(waiting, plain)
            rows = self._try(plain, sweep, reader, taken, new)
            if rows is None:
                waiting = [part for job in taken for part in _halves(job)] + waiting[len(taken) :]
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
            tokens += len(job.index) * plain.n_pairs * (plain.length - job.start)
            if taken and (job.start != taken[0].start or tokens > self.max_tokens):
                break
            taken.append(job)
        return taken

    def _try(
        self, plain: PlainRun, sweep: Sweep, reader: Reader, jobs: Sequence[Job], new: NewValues
    ) -> list[tuple[Tensor, Tensor]] | None:
        """Each batch of rows' indices and metric; None when memory ran out and the bound was halved."""
        try:
            return [(rows.index, reader.read(rows)) for rows in _climb(plain, sweep, reader, jobs, new)]
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


def _jobs(plain: PlainRun, batch: Batch, sweep: Sweep, start: int, max_tokens: int) -> Iterator[Job]:
    """The sweep's interventions that can change what is read, by first position, then by layer."""
    positions: Sequence[int | None] = range(start, plain.length) if sweep.by_position else [None]
    ranks = sorted(range(len(sweep.layers)), key=lambda rank: sweep.layers[rank])
    units = sweep.units or (None,)
    for position in positions:
        first = start if position is None else position
        size = max(1, max_tokens // (plain.n_pairs * (plain.length - first)))
        for rank in ranks:
            if _never_read(plain, sweep, sweep.layers[rank], position):
                continue
            for low in range(0, len(units), size):
                chosen = range(low, min(low + size, len(units)))
                places = [_place(sweep, batch, rank, unit, position) for unit in chosen]
                some = None if sweep.units is None else sweep.units[chosen.start : chosen.stop]
                yield Job(sweep.layers[rank], some, position, first, torch.tensor(places))


def _place(sweep: Sweep, batch: Batch, rank: int, unit: int, position: int | None) -> int:
    """An intervention's place in the flattened result."""
    units = 1 if sweep.units is None else len(sweep.units)
    length = batch.length if sweep.by_position else 1
    return (rank * units + unit) * length + (position or 0)


def _never_read(plain: PlainRun, sweep: Sweep, layer: int, position: int | None) -> bool:
    """Whether a change at one position stays there and away from the answer, as after the last attention."""
    last_layer = plain.answer_only and layer == plain.parts.sizes.n_layers - 1
    stays = stage_of(sweep.site) != "pre" and sweep.site.name not in ("k", "v")
    return last_layer and stays and position is not None and position != plain.length - 1


def _halves(job: Job) -> list[Job]:
    """A job as two of half its units."""
    if job.units is None or len(job.units) == 1:
        return [job]
    middle = len(job.units) // 2
    return [
        Job(job.layer, job.units[:middle], job.position, job.start, job.index[:middle]),
        Job(job.layer, job.units[middle:], job.position, job.start, job.index[middle:]),
    ]


def _climb(plain: PlainRun, sweep: Sweep, reader: Reader, jobs: Sequence[Job], new: NewValues) -> list[Rows]:
    """The jobs' rows at the point where the metric reads them."""
    stage, active = stage_of(sweep.site), list[Rows]()
    last_layer = plain.parts.sizes.n_layers - 1
    for layer in range(min(job.layer for job in jobs), reader.top_layer + 1):
        here = [job for job in jobs if job.layer == layer]
        entering = [enter(plain, sweep.site, job, new(layer)) for job in here]
        active = merged(active + entering) if stage == "pre" else active
        if reader.ends_at(layer, "pre"):
            return active
        answer_only = plain.answer_only and layer == last_layer
        active = [through_attention(plain, layer, rows, answer_only=answer_only) for rows in active]
        active = merged(active + entering) if stage == "mid" else merged(active)
        if reader.ends_at(layer, "mid"):
            return active
        active = [through_mlp(plain, layer, rows) for rows in active]
        active = merged(active + entering) if stage == "post" else active
    return active


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
