"""The sweep as every other tool is used: one forward of all pairs per intervention."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from transformers import GPT2Config

from benchmarks.jobs import Intervention, Job, Prompts
from benchmarks.tools import Outcome
from benchmarks.tools.clock import now


class OneByOne(ABC):
    """One forward per intervention; a tool says how it reads activations and how it replaces them."""

    config: GPT2Config

    @abstractmethod
    def read(self, job: Job, ids: Tensor, prompts: Prompts) -> tuple[Tensor, list[Tensor]]:
        """The metric `[pair]`, and the site's activation `[pair, position, d_model]` of every layer."""

    @abstractmethod
    def forward(
        self, job: Job, ids: Tensor, prompts: Prompts, where: Intervention, new: Tensor | None
    ) -> Tensor:
        """The metric `[pair]` with one activation replaced; by zero where `new` is None."""

    @torch.no_grad()
    def run(self, job: Job, prompts: Prompts, chosen: list[Intervention]) -> Outcome:
        """Run the chosen interventions of a job."""
        started = now()
        clean, values = self.read(job, prompts.clean, prompts)
        ids, base = prompts.clean, clean
        if job.kind == "denoise":
            ids, (base, _) = prompts.corrupted, self.read(job, prompts.corrupted, prompts)
        ready = now()
        effects = []
        for where in chosen:
            new = values[where.layer] if job.kind == "denoise" else None
            effects.append(self.forward(job, ids, prompts, where, new) - base)
        done = now()
        every = job.interventions(self.config.n_layer, self.config.n_head)
        return Outcome(torch.stack(effects), ready - started, done - ready, len(chosen) / len(every))


def columns(where: Intervention, d_head: int) -> slice:
    """The columns of z that belong to the head; all of them without a head."""
    if where.head is None:
        return slice(None)
    return slice(where.head * d_head, (where.head + 1) * d_head)


def positions(where: Intervention) -> slice:
    """The positions that are replaced."""
    return slice(None) if where.position is None else slice(where.position, where.position + 1)
