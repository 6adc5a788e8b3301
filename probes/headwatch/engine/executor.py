"""The sweep engine: every intervention of a sweep, exact, at a cost near the arithmetic that it needs.

An intervention changes nothing below its layer nor before its position, so it starts from the base run there and
runs only the layers and positions above. The heads of a layer are one batch; batches that are small travel up
together with those of other layers. In the last layer only the answer position goes past keys and values, and
only what the metric reads is unembedded. Cost: for all heads of a model about half a forward a head, less where
the prompts of a pair begin alike; `benchmarks/` has the figures.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.read_metric import Reader
from headwatch.engine.streams import Streams
from headwatch.engine.work_items import WorkItem, tokens_per_intervention
from headwatch.warn import warn_user


@dataclass
class Executor:
    """Runs items within a memory bound.

    Attributes:
        max_tokens: how many tokens of interventions are under way at once; halved where memory runs out.
        ran_out: whether it has.
    """

    max_tokens: int
    ran_out: bool = False

    def run(
        self,
        reader: Reader,
        count: int,
        items: Iterable[WorkItem],
        propagate: Callable[[Sequence[WorkItem]], list[Streams]],
        done: Callable[[int], None] = lambda count: None,
    ) -> Float[Tensor, "metric pair n"]:
        """The metrics under each intervention, `[metric, pair, intervention]`; the base run's where no item is.

        Args:
            reader: reads the metrics of the run that is intervened on.
            count: how many interventions there are.
            items: those that can change what is read.
            propagate: takes items that run together to the point where the metrics read them.
            done: called with the number of interventions after each batch of them.
        """
        base, results = reader.run, reader.measured[..., None].repeat(1, 1, count)
        waiting = deque(items)
        done(count - sum(len(item.index) for item in waiting))
        while waiting:
            taken = self._take(waiting, base)
            try:
                read = [(streams.index, reader.read(streams)) for streams in propagate(taken)]
            except RuntimeError as error:
                self._shrink(error, taken, base)
                waiting.extendleft(reversed(taken))
                continue
            for index, values in read:
                results[..., index] = values.transpose(1, 2)
            done(sum(len(item.index) for item in taken))
        return results

    def _take(self, waiting: deque[WorkItem], base: BaseRun) -> list[WorkItem]:
        """The next interventions that go up together: of one first position, as many as the memory bound allows."""
        taken, room = list[WorkItem](), self.max_tokens
        while waiting and (not taken or waiting[0].start == taken[0].start):
            each = tokens_per_intervention(base, waiting[0].start)
            fitting = max(room // each, 0 if taken else 1)
            if fitting == 0:
                break
            item, rest = waiting.popleft().split(fitting)
            if len(rest.index) > 0:
                waiting.appendleft(rest)
            taken.append(item)
            room -= len(item.index) * each
        return taken

    def _shrink(self, error: RuntimeError, taken: Sequence[WorkItem], base: BaseRun) -> None:
        """Halve the bound where memory has run out; raise the error where that doesn't help."""
        count = sum(len(item.index) for item in taken)
        if not out_of_memory(error) or count == 1:
            raise error
        if not self.ran_out:
            warn_user(
                f"out of memory at max_tokens_per_batch={self.max_tokens}: going on with smaller batches"
            )
        self.ran_out, self.max_tokens = True, count // 2 * tokens_per_intervention(base, taken[0].start)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory has run out."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def default_max_tokens(device: torch.device, d_mlp: int) -> int:
    """How many tokens are under way at once where the user sets no bound.

    On a CPU so many that a hidden layer of the MLP stays within 18 MB: larger blocks of memory are returned to the
    system after each use and cost more to get again than to fill. On a GPU what fits in a quarter of the free memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(256, free // 4 // (4 * 4 * d_mlp))
    return max(256, 18 * 2**20 // (4 * d_mlp))
