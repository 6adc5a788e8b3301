"""What a second process saves of a pass under DDP: `.venv/bench/bin/python -m benchmarks.ranks`.

GPT-2 small's shape, every head of the last layers, on pairs of 15 tokens. One process, then several, each on as many
threads, ask the same question as a training's processes do; the time is that from the first one's start until all of
them know the answer. It counts only where each process has its cores to itself. What isn't shared out, the means and
the engine's check of itself, is 6 % of the time of 16 pairs and 4 % of that of 64.
"""

import argparse
import os
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from headwatch_callbacks.questions import Ablation, Moment
from headwatch_callbacks.ranks import Ranks, run_shared_pass


def seconds_of_passes(ranks: Ranks, options: argparse.Namespace) -> list[float]:
    """How long each pass takes; the first one, which warms up, is left out."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=options.layers)).eval()
    pairs = random_pairs(options.pairs, model.config.vocab_size)
    question = Ablation(
        pairs, metric="loss", layers=list(range(options.layers - options.swept, options.layers))
    )
    question.prepare(hw.find_architecture(model))
    found = []
    for number in range(options.repeats + 1):
        ranks.from_first(lambda: None)  # all start together
        started = time.perf_counter()
        run_shared_pass(
            ranks,
            question,
            model,
            Moment(number),
            lambda result: None,
            within=nullcontext(),
            failed=_raised,
        )
        found.append(time.perf_counter() - started)
    return found[1:]


def random_pairs(n: int, vocab: int) -> hw.PromptPairs:
    """Pairs of 15 random tokens, the same in every process."""
    clean, corrupted = torch.randint(vocab, (2, n, 15))
    answer = torch.randint(1, vocab, (n,))
    return hw.PromptPairs.from_tokens(clean, corrupted, answer, answer - 1)


def _raised(error: Exception) -> None:
    raise error


def in_processes(size: int, options: argparse.Namespace) -> list[float]:
    """The same, where so many processes share each pass."""
    with TemporaryDirectory() as folder:
        children = [_started(rank, size, Path(folder), options) for rank in range(size)]
        if any(os.waitpid(child, 0)[1] for child in children):
            raise RuntimeError("a process failed: see what it says above")
        return [float(line) for line in Path(folder, "seconds").read_text().split()]


def _started(rank: int, size: int, folder: Path, options: argparse.Namespace) -> int:
    child = os.fork()
    if child:
        return child
    torch.set_num_threads(options.threads)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
    seconds = seconds_of_passes(Ranks.of_training(timedelta(minutes=5)), options)
    if rank == 0:
        Path(folder, "seconds").write_text("\n".join(map(str, seconds)))
    os._exit(0)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--swept", type=int, default=12, help="layers whose heads are ablated")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    table = Table("processes", "s a pass", "times faster")
    whole = None
    for size in options.ranks:
        seconds = median(in_processes(size, options))
        whole = whole or seconds
        table.add_row(str(size), f"{seconds:.2f}", f"{whole / seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
