"""What is measured: the sweeps of the table, and the prompts that they run on.

Every pair's prompts share their first `shared` tokens and differ at every later position.
"""

import itertools
import random
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import GPT2Config

PAIRS = 8


class Intervention(NamedTuple):
    """One intervention: a layer, a head (None for a whole layer) and a position (None for all)."""

    layer: int
    head: int | None
    position: int | None


@dataclass(frozen=True)
class Job:
    """One sweep.

    Attributes:
        name: its row in the table.
        site: `z` or `resid_pre`.
        kind: `zero`, or `denoise` (the clean activation into the corrupted run).
        length: tokens of each prompt.
        shared: leading tokens that the prompts of a pair have in common; all of them matter only to `denoise`.
        by_position: one position at a time.
    """

    name: str
    site: str
    kind: str
    length: int = 15
    shared: int = 0
    by_position: bool = False

    def interventions(self, n_layers: int, n_heads: int) -> list[Intervention]:
        """Every intervention, in the order of the axes layer, head, position."""
        heads = range(n_heads) if self.site == "z" else [None]
        positions = range(self.length) if self.by_position else [None]
        return [Intervention(*item) for item in itertools.product(range(n_layers), heads, positions)]

    @property
    def first_change(self) -> int:
        """The first position at which an intervention can change anything."""
        return 0 if self.kind == "zero" else self.shared


_SHORT = (
    Job("zero ablation, all heads", "z", "zero"),
    Job("patch z, first 10 tokens shared", "z", "denoise", shared=10),
    Job("patch z by position, first 10 shared", "z", "denoise", shared=10, by_position=True),
    Job("patch z by position, none shared", "z", "denoise", by_position=True),
    Job("patch resid_pre by position, none shared", "resid_pre", "denoise", by_position=True),
)


def jobs(length: int) -> list[Job]:
    """The jobs on prompts of a length, named after it; heads by position, many thousands, at 15 tokens only."""
    some = [job for job in _SHORT if length == 15 or not job.by_position or job.site == "resid_pre"]
    return [replace(job, name=f"{job.name}, {PAIRS} × {length}", length=length) for job in some]


def job_named(name: str) -> Job:
    """The job of that name.

    Raises:
        ValueError: there is none.
    """
    for length in (15, 64):
        for job in jobs(length):
            if job.name == name:
                return job
    raise ValueError(f"no job is called {name!r}")


class Prompts(NamedTuple):
    """Clean and corrupted prompts `[pair, position]`, answers and foils `[pair]`."""

    clean: Tensor
    corrupted: Tensor
    answer: Tensor
    foil: Tensor

    def to(self, device: str) -> "Prompts":
        """The same prompts on a device."""
        return Prompts(*(part.to(device) for part in self))


def prompts(job: Job, config: GPT2Config) -> Prompts:
    """The job's prompts: random tokens, the same in every process."""
    generator = torch.Generator().manual_seed(job.length * 100 + job.shared)
    vocab = config.vocab_size
    clean = torch.randint(vocab, (PAIRS, job.length), generator=generator)
    change = torch.randint(1, vocab, (PAIRS, job.length), generator=generator)
    change[:, : job.shared] = 0
    answer = torch.randint(vocab, (PAIRS,), generator=generator)
    foil = (answer + torch.randint(1, vocab, (PAIRS,), generator=generator)) % vocab
    return Prompts(clean, (clean + change) % vocab, answer, foil)


def sample(job: Job, every: list[Intervention], size: int) -> list[Intervention]:
    """Some of a job's interventions, the same in every process, in their order; all where `size` covers them.

    Taken from those that can change anything; one forward costs the same wherever it intervenes.
    """
    if size >= len(every):
        return every
    alive = [where for where in every if where.position is None or where.position >= job.first_change]
    chosen = random.Random(job.name).sample(range(len(alive)), min(size, len(alive)))
    return [alive[index] for index in sorted(chosen)]
