"""What `background=True` costs a training: `.venv/bench/bin/python -m benchmarks.background`.

GPT-2 small's shape. First the stall, which is the time until training may go on after a pass has been asked for,
beside the time of copying the parameters alone. Then training steps, with no pass and while one is under way.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

import headwatch as hw
from benchmarks.jobs import jobs, prompts
from headwatch_callbacks.background.messages import Precision
from headwatch_callbacks.background.passes import BackgroundPasses, Taken
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from headwatch_callbacks.questions import Ablation, Moment

CPU = torch.device("cpu")


class Training:
    """Steps of a model on random tokens, and passes that are asked for in between."""

    def __init__(self, layers: int, batch: int, length: int) -> None:
        torch.manual_seed(0)
        self.model = GPT2LMHeadModel(GPT2Config(n_layer=layers))
        self.ids = torch.randint(self.model.config.vocab_size, (batch, length))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.pairs = hw.PromptPairs.from_tokens(*prompts(jobs(15)[0], self.model.config))
        self.seconds_of_passes: list[float] = []
        self._moments = map(Moment, count())

    def question(self, layers: int) -> Ablation:
        """Every head of the last so many layers."""
        of_all = self.model.config.n_layer
        question = Ablation(self.pairs, layers=list(range(of_all - layers, of_all)))
        question.prepare(hw.find_architecture(self.model))
        return question

    def step(self) -> float:
        """Seconds that one step takes."""
        started = time.perf_counter()
        self.optimizer.zero_grad()
        self.model(self.ids, labels=self.ids).loss.backward()
        self.optimizer.step()
        return time.perf_counter() - started

    def copy(self, copies: list[torch.Tensor]) -> float:
        """Seconds that copying the parameters takes."""
        started = time.perf_counter()
        with torch.no_grad():
            for mine, theirs in zip(copies, self.model.parameters(), strict=True):
                mine.copy_(theirs)
        return time.perf_counter() - started

    def ask(self, passes: BackgroundPasses, question: Ablation) -> float:
        """Seconds until training may go on."""
        started = time.perf_counter()
        with preserve_rng():
            taken = passes.ask(
                question,
                self.model,
                next(self._moments),
                device=CPU,
                precision=Precision.current(CPU),
                failed=print,
            )
        assert taken is Taken.UNDER_WAY
        return time.perf_counter() - started

    @contextmanager
    def passes(self, question: Ablation) -> Iterator[BackgroundPasses]:
        """A worker process, started by a first pass."""
        passes = BackgroundPasses(lambda result: self.seconds_of_passes.append(result.seconds), print, print)
        self.ask(passes, question)
        passes.collect(wait=True)
        self.seconds_of_passes.clear()
        try:
            yield passes
        finally:
            passes.close()


def stalls(training: Training, repeats: int) -> tuple[float, float]:
    """Seconds of a stall, and of copying the parameters; medians, taken in turn."""
    copies = [parameter.detach().clone() for parameter in training.model.parameters()]
    question = training.question(layers=1)
    with training.passes(question) as passes:
        stalled, copied = [], []
        for _ in range(repeats):
            training.step()  # so that both find the caches as a step leaves them
            stalled.append(training.ask(passes, question))
            passes.collect(wait=True)
            training.step()
            copied.append(training.copy(copies))
    return median(stalled), median(copied)


def slowed(training: Training, repeats: int) -> tuple[float, float, float]:
    """Seconds of a step, of one while a pass is under way, and of that pass; medians, taken in turn."""
    question = training.question(layers=training.model.config.n_layer)
    with training.passes(question) as passes:
        alone, beside = [], []
        for _ in range(repeats):
            alone += [training.step() for _ in range(3)]
            training.ask(passes, question)
            while not passes.has_answer():
                beside.append(training.step())
            passes.collect()
    return median(alone), median(beside), median(training.seconds_of_passes)


def row(name: str, measure: Callable[[], tuple[float, ...]]) -> tuple[str, ...]:
    """A row of the second table."""
    alone, beside, of_pass = measure()
    return name, f"{alone:.2f} s", f"{beside:.2f} s", f"{beside / alone:.2f}", f"{of_pass:.1f} s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=12, help="a smaller model, to try the program itself")
    parser.add_argument("--batch", type=int, default=4, help="prompts of a training batch")
    parser.add_argument("--length", type=int, default=128, help="tokens of each")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], help="threads of the training")
    given = parser.parse_args()
    training = Training(given.layers, given.batch, given.length)
    stalled, copied = stalls(training, given.repeats)
    console = Console()
    console.print(
        f"stall of a pass {1e3 * stalled:.0f} ms, copy of the parameters {1e3 * copied:.0f} ms:"
        f" {stalled / copied:.2f} times the copy"
    )
    columns = ("training's threads", "a step alone", "beside a pass", "times slower", "the pass")
    table = Table(*columns, title="training beside a pass in the background")
    for threads in given.threads:
        torch.set_num_threads(threads)
        table.add_row(*row(str(threads), lambda: slowed(training, given.repeats)))
    console.print(table)


if __name__ == "__main__":
    main()
