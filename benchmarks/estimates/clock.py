"""How long an estimate takes beside the exact sweep, on GPT-2 small's shape with random weights.

    python -m benchmarks.estimates.clock [--threads 1] [--beside TransformerLens]

The counted cost of `benchmarks.estimates.run` is held to the clock here: both are printed. Random weights have effects
of their own kind, so what matters is how far the two figures are apart, not how many exact runs there were. Beside
another tool, its exact sweep on the same pairs is timed in the same process, between two estimates.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from benchmarks.estimates.prompts import LENGTH
from benchmarks.jobs import Job, Prompts
from benchmarks.model import SCALE
from benchmarks.tools.registry import make

SHARED = 9  # leading tokens that a pair's prompts have in common


@dataclass(frozen=True)
class Timing:
    """One question by both ways.

    Attributes:
        kind: what replaces the heads.
        exact: seconds of the exact sweep on all pairs.
        estimated: seconds of the estimate, at a standard error as the exact sweep's.
        counted: its cost as a share of the exact sweep, in forward-equivalents.
        covariate: what it rests on.
        beside: seconds of another tool's exact sweep; None without one.
    """

    kind: str
    exact: float
    estimated: float
    counted: float
    covariate: str
    beside: float | None = None

    @property
    def by_clock(self) -> float:
        """Its cost as a share of the exact sweep's seconds."""
        return self.estimated / self.exact


def random_gpt2(config: GPT2Config) -> GPT2LMHeadModel:
    """A GPT-2 with random weights, large enough that single heads have effects."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            parameter.mul_(SCALE) if parameter.ndim == 2 else parameter.add_(
                0.05 * torch.randn_like(parameter)
            )
    return model


def random_pairs(n: int, vocabulary: int, length: int = LENGTH, shared: int = SHARED) -> hw.PromptPairs:
    """Pairs of random tokens, of which the first few are shared."""
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = (torch.randint(vocabulary, (n, length), generator=generator) for _ in range(2))
    corrupted[:, :shared] = clean[:, :shared]
    return hw.PromptPairs.from_tokens(clean, corrupted, clean[:, 0], corrupted[:, -1])


def timed(model: nn.Module, pairs: hw.PromptPairs, kind: str, tool: str | None = None) -> Timing:
    """Answer one question exactly and by an estimate, and exactly by another tool."""
    ablates = kind == "mean"
    exact = hw.ablate_heads if ablates else hw.patch_activations
    answered = _seconds(lambda: exact(model, pairs, **({"kind": kind} if ablates else {"direction": kind})))
    started = time.perf_counter()
    found = hw.estimate_heads(model, pairs, kind=kind, target_stderr="exact")
    estimated = time.perf_counter() - started
    beside = None if tool is None else _seconds_of(tool, model, pairs, kind)
    return Timing(kind, answered, estimated, found.cost, ", ".join(found.covariate_names), beside)


def _seconds_of(tool: str, model: nn.Module, pairs: hw.PromptPairs, kind: str) -> float:
    """Another tool's exact sweep; zeros take it as long to write as means."""
    job = Job(kind, "z", "denoise" if kind == "denoise" else "zero", LENGTH, SHARED)
    prompts = Prompts(pairs.clean, pairs.corrupted, pairs.answer, pairs.foil)
    other, every = make(tool, deepcopy(model)), job.interventions(model.config.n_layer, model.config.n_head)
    return _seconds(lambda: other.run(job, prompts, every))


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def main() -> None:
    """Time both questions and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--beside", help="another tool of benchmarks.run, such as TransformerLens")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = GPT2Config()
    model, pairs = random_gpt2(config), random_pairs(given.pairs, config.vocab_size)
    for kind in ("mean", "denoise"):
        found = timed(model, pairs, kind, given.beside)
        print(
            f"{kind}: exact {found.exact:.1f} s, estimated {found.estimated:.1f} s: {found.by_clock:.2f} of it by the "
            f"clock, {found.counted:.2f} as counted; covariate: {found.covariate}",
            flush=True,
        )
        if found.beside is not None:
            print(
                f"  {given.beside}: {found.beside:.0f} s, {found.beside / found.estimated:.0f} times as long",
                flush=True,
            )


if __name__ == "__main__":
    main()
