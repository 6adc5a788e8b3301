"""How long an estimate takes beside the exact sweep, on GPT-2 small's shape with random weights.

    python -m benchmarks.estimates.clock [--threads 1]

The counted cost of `benchmarks.estimates.run` is held to the clock here: both are printed. Random weights have effects
of their own kind, so what matters is how far the two figures are apart, not how many exact runs there were.
"""

import argparse
import time
from dataclasses import dataclass

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from benchmarks.estimates.prompts import LENGTH
from benchmarks.model import SCALE

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
    """

    kind: str
    exact: float
    estimated: float
    counted: float
    covariate: str

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


def timed(model: nn.Module, pairs: hw.PromptPairs, kind: str) -> Timing:
    """Answer one question exactly and by an estimate."""
    exact = hw.ablate_heads if kind == "mean" else hw.patch_activations
    started = time.perf_counter()
    exact(model, pairs, **({"kind": kind} if kind == "mean" else {"direction": kind}))
    between = time.perf_counter()
    found = hw.estimate_heads(model, pairs, kind=kind, target_stderr="exact")
    seconds = time.perf_counter() - between
    return Timing(kind, between - started, seconds, found.cost, ", ".join(found.covariate_names))


def main() -> None:
    """Time both questions and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = GPT2Config()
    model, pairs = random_gpt2(config), random_pairs(given.pairs, config.vocab_size)
    for kind in ("mean", "denoise"):
        found = timed(model, pairs, kind)
        print(
            f"{kind}: exact {found.exact:.1f} s, estimated {found.estimated:.1f} s: {found.by_clock:.2f} of it by the "
            f"clock, {found.counted:.2f} as counted; covariate: {found.covariate}",
            flush=True,
        )


if __name__ == "__main__":
    main()
