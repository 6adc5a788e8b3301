"""What bfloat16 costs in accuracy and saves in time: `.venv/bench/bin/python -m benchmarks.precision`.

GPT-2 small's shape with the weights and prompts of `make bench`, and the same questions in float32 and bfloat16.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torchmetrics.functional import spearman_corrcoef
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from benchmarks.jobs import jobs, prompts
from benchmarks.model import load, save_random_weights

Question = Callable[..., hw.Effects]


def questions(model: GPT2LMHeadModel) -> dict[str, Question]:
    """The questions that are asked in both precisions."""
    zero, patch = (hw.PromptPairs.from_tokens(*prompts(job, model.config)) for job in jobs(15)[:2])
    return {
        "zero ablation, logit difference": lambda **more: hw.ablate_heads(
            model, zero, kind="zero", metric="logit_diff", **more
        ),
        "mean ablation, loss": lambda **more: hw.ablate_heads(
            model, zero, kind="mean", metric="loss", **more
        ),
        "patching z, logit difference": lambda **more: hw.patch_activations(model, patch, **more),
    }


def compare(name: str, ask: Question, repeats: int) -> tuple[str, ...]:
    """A row of the table: times, errors relative to the largest effect, and the correlation of ranks."""
    exact, rough = ask(), ask(precision="bf16")
    pairs = [(ask().seconds, ask(precision="bf16").seconds) for _ in range(repeats)]
    seconds = [median(times) for times in zip(*pairs, strict=True)]
    per_pair = (rough.per_pair - exact.per_pair).abs()
    mean = (rough.mean - exact.mean).abs()
    ranks = spearman_corrcoef(rough.mean.flatten(), exact.mean.flatten())
    return (
        name,
        f"{seconds[0] / seconds[1]:.2f}",
        f"{per_pair.median() / exact.per_pair.abs().max():.1%}",
        f"{per_pair.max() / exact.per_pair.abs().max():.1%}",
        f"{mean.max() / exact.mean.abs().max():.1%}",
        f"{ranks:.3f}",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12, help="a smaller model, to try the program itself")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = GPT2Config(n_layer=given.layers)
    with tempfile.TemporaryDirectory() as folder:
        save_random_weights(Path(folder) / "weights.safetensors", config)
        model = load(Path(folder) / "weights.safetensors", config)
    headings = ("", "times faster", "median error", "largest error", "largest error of a mean", "ranks")
    table = Table(*headings, title="bfloat16 beside float32; errors over the largest effect")
    for name, ask in questions(model).items():
        table.add_row(*compare(name, ask, given.repeats))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
