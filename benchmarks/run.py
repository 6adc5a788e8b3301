"""`make bench`: the whole comparison. Prints a table a job and writes results.json beside this file.

Tools that run one forward per intervention run a random sample of the interventions, scaled up and said so.
"""

import argparse
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from transformers import GPT2Config

from benchmarks.jobs import PAIRS, jobs
from benchmarks.measure import Measured, measure, memory
from benchmarks.model import save_random_weights
from benchmarks.processes import Setting, Worker
from benchmarks.table import save, show
from benchmarks.tools.registry import BOUNDS, HEADWATCH, PACKAGES, REFERENCE, TOOLS

HERE = Path(__file__).parent
SHORTEST = 15


def arguments(default_out: Path) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="how often every tool runs a job, in turn")
    parser.add_argument(
        "--sample", type=int, default=12, help="interventions that one-by-one tools run, of 15 tokens"
    )
    parser.add_argument("--lengths", type=int, nargs="+", choices=(15, 64), default=[15, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--jobs", type=int, nargs="+", help="only these jobs, counted from 0; all by default")
    parser.add_argument("--out", type=Path, default=default_out)
    parser.add_argument("--layers", type=int, default=12, help="a smaller model, to try the program itself")
    return parser.parse_args()


def compare(given: argparse.Namespace, device: str) -> list[Measured]:
    """Run every job on every tool."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        setting = Setting(Path(folder), given.threads, device)
        config = GPT2Config(n_layer=given.layers)
        config.save_pretrained(folder)
        save_random_weights(Path(folder) / "weights.safetensors", config)
        names = [*given.tools, *BOUNDS]
        workers = {name: stack.enter_context(Worker(name, setting)) for name in names}
        truth = stack.enter_context(Worker(REFERENCE, setting))
        every: list[Measured] = []
        for length in given.lengths:
            for number, job in enumerate(jobs(length)):
                if given.jobs is not None and number not in given.jobs:
                    continue
                sample = max(2, given.sample * SHORTEST // length)
                rows = measure(job, workers, truth, sample, given.repeats)
                if HEADWATCH in given.tools:
                    held = memory(job, setting)
                    rows = [replace(row, above_model=held) if row.tool == HEADWATCH else row for row in rows]
                show(rows)
                every += rows
        return every


def main(device: str = "cpu", default_out: Path = HERE / "results.json") -> None:
    """Measure, print and write."""
    given = arguments(default_out)
    rows = compare(given, device)
    about = {
        "device": device,
        "threads": given.threads,
        "repeats": given.repeats,
        "sample": given.sample,
        "pairs": PAIRS,
        "layers": given.layers,
        "machine": platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    save(given.out, about, rows)
    print(
        f"{given.threads} threads, medians of {given.repeats} interleaved repeats; written to {given.out.name}"
    )


if __name__ == "__main__":
    main()
