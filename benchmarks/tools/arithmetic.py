"""The bound in seconds: the sweep's least arithmetic at the rate that this machine multiplies such matrices."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from benchmarks.bound import Shape, Work, sweep_work
from benchmarks.jobs import PAIRS, Intervention, Job, Prompts
from benchmarks.tools import Outcome
from benchmarks.tools.clock import now

MOST_ROWS = 4096
REPEATS = 5


def onednn(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The same product by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight.t(), bias, "none", [], "")


_KERNELS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]] = {
    "cpu": (torch.addmm, onednn),
    "cuda": (torch.addmm,),
}


class Arithmetic:
    """Matrix products alone, each shape as many rows at once as occur in a layer (at most 4,096).

    By whichever of PyTorch's kernels is the quicker: BLAS or oneDNN on a CPU.
    """

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.config, self.device = model.config, model.device
        self.kernels = _KERNELS[model.device.type]

    @torch.no_grad()
    def run(self, job: Job, prompts: Prompts, chosen: list[Intervention]) -> Outcome:
        """The bound for the whole job; there are no effects."""
        every = job.interventions(self.config.n_layer, self.config.n_head)
        work = sweep_work(job, Shape.of(self.config, job.length), PAIRS, every)
        return Outcome(torch.empty(0), 0.0, self._seconds(work), 1.0)

    def _seconds(self, work: Work) -> float:
        seconds, best = 0.0, 0.0
        for (inputs, outputs), rows in work.rows.items():
            rate = self._rate(rows, inputs, outputs)
            seconds += 2 * rows * inputs * outputs / rate
            best = max(best, rate)
        return seconds + work.attention / best

    def _rate(self, rows: int, inputs: int, outputs: int) -> float:
        """Operations a second, for as many rows as occur in a layer and for half as many: the better of both."""
        in_a_layer = min(max(rows // self.config.n_layer, 1), MOST_ROWS)
        sizes = {in_a_layer, max(in_a_layer // 2, 1)}
        return max(2 * size * inputs * outputs / self._fastest(size, inputs, outputs) for size in sizes)

    def _fastest(self, rows: int, inputs: int, outputs: int) -> float:
        """Seconds of one product, the least of some."""
        x = torch.randn(rows, inputs, device=self.device)
        weight = torch.randn(inputs, outputs, device=self.device)
        bias = torch.randn(outputs, device=self.device)
        seconds = []
        for _ in range(REPEATS):
            for multiply in self.kernels:
                started = now()
                multiply(bias, x, weight)
                seconds.append(now() - started)
        return min(seconds)


class WithAddmm(Arithmetic):
    """By `torch.addmm` alone, as a plain forward multiplies."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__(model)
        self.kernels = (torch.addmm,)
