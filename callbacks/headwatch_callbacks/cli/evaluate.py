"""`headwatch eval`: probes over saved checkpoints."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headwatch_callbacks.cli.errors import failing_in_one_sentence, refusing_usage, warning_in_one_line
from headwatch_callbacks.cli.task_names import TASKS_HELP

if TYPE_CHECKING:
    from headwatch_callbacks.checkpoints.evaluate import EvalJob
    from headwatch_callbacks.questions.prompt_source import TaskPairs


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT...", help="Hugging Face folders and Lightning .ckpt files."),
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="Prompt pairs, JSON Lines.", rich_help_panel="Prompts")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help=f"Or a ready-made task: {TASKS_HELP}.", rich_help_panel="Prompts")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", min=1, help="Pairs of --task; 64 by default.", rich_help_panel="Prompts"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of --task and of --kind resample; 0 by default.", rich_help_panel="Prompts"
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name; by default the first checkpoint's.", rich_help_panel="Prompts"
        ),
    ] = None,
    probe: Annotated[
        str, typer.Option(help="Any of ablation, patching, patterns, by commas.", rich_help_panel="Questions")
    ] = "ablation,patching,patterns",
    kind: Annotated[
        str | None,
        typer.Option(help="Ablation: zero, mean, position_mean, resample.", rich_help_panel="Questions"),
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Patching: z, q, k, v, resid_pre, ...", rich_help_panel="Questions")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="Patching: denoise or noise.", rich_help_panel="Questions")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="loss, logit_diff, kl, prob, ...; give it again for several. By default the pairs' own.",
            rich_help_panel="Questions",
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Only these layers: 9,10.", rich_help_panel="Sweeps")
    ] = None,
    heads: Annotated[
        str | None, typer.Option(help="Only these heads of each layer: 0,3.", rich_help_panel="Sweeps")
    ] = None,
    neurons: Annotated[
        str | None, typer.Option(help="Only these neurons of each layer: 200,201.", rich_help_panel="Sweeps")
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(help="Heads that are replaced in every run: L9H6,L9H9.", rich_help_panel="Sweeps"),
    ] = None,
    by_position: Annotated[
        bool, typer.Option("--by-position", help="One position at a time.", rich_help_panel="Sweeps")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pairs whose base runs are kept.", rich_help_panel="Sweeps")
    ] = None,
    max_tokens_per_batch: Annotated[
        int | None, typer.Option(min=1, help="Tokens under way at once.", rich_help_panel="Sweeps")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, for a rough pass.", rich_help_panel="Sweeps")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="auto, hooks or exact.", rich_help_panel="Sweeps")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Estimate at a share of the exact sweep's cost, such as 0.25.", rich_help_panel="Sweeps"
        ),
    ] = None,
    target_stderr: Annotated[
        str | None,
        typer.Option(
            help="Estimate to a standard error: a number, 2% (of the largest effect) or exact.",
            rich_help_panel="Sweeps",
        ),
    ] = None,
    record: Annotated[
        Path, typer.Option("--record", "-o", help="The run's folder; an existing one is added to.")
    ] = Path("headwatch_runs/eval"),
    name: Annotated[
        str | None, typer.Option(help="Tells these series from others of the same question in the run.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="How the GPT-2 of a .ckpt is built: a folder with config.json.", rich_help_panel="Loading"
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(help="Where the GPT-2 of a .ckpt is, such as net.gpt.", rich_help_panel="Loading"),
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes that share the checkpoints.", rich_help_panel="Loading")
    ] = 1,
    accelerator: Annotated[
        str, typer.Option(help="auto, cpu, gpu, ... as in Lightning.", rich_help_panel="Loading")
    ] = "auto",
) -> None:
    """Probe saved checkpoints: all of them go into one run, each at the step at which it was saved.

    A pass that is in the run already is not done again, so an interrupted evaluation goes on where it stopped.
    A .ckpt is opened without running code from it.
    """
    with refusing_usage():
        from headwatch_callbacks.checkpoints.evaluate import EvalJob, EvalQuestions

        options = {
            "kind": kind,
            "site": site,
            "direction": direction,
            "metric": metric or None,
            "layers": _numbers("layers", layers),
            "heads": _numbers("heads", heads),
            "neurons": _numbers("neurons", neurons),
            "given": _heads(given),
            "by_position": by_position or None,
            "batch_size": batch_size,
            "max_tokens_per_batch": max_tokens_per_batch,
            "precision": precision,
            "engine": engine,
            "budget": budget,
            "target_stderr": _number_or_text(target_stderr),
            "seed": seed or None if kind == "resample" else None,
        }
        probes = tuple(part.strip() for part in probe.split(",") if part.strip())
        if seed is not None and task is None and kind != "resample":
            raise ValueError("--seed can't take effect: it belongs to --task and to --kind resample")
        prompts = _prompts(pairs, task, count, seed)
        known = tokenizer or _own_tokenizer(checkpoints[0])
        wanted = {name: value for name, value in options.items() if value is not None}
        asked = EvalQuestions(probes, prompts, known, name, wanted)
        asked.questions()
    with failing_in_one_sentence():
        _evaluate(EvalJob(tuple(checkpoints), asked, record, config, prefix), devices, accelerator)


def _numbers(name: str, text: str | None) -> list[int] | None:
    """`9,10` as numbers."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"--{name} {text}: give whole numbers with commas between them, such as 9,10")
    return [int(part) for part in parts]


def _number_or_text(text: str | None) -> float | str | None:
    """`0.01` as a number; `2%` and `exact` as they are."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _heads(text: str | None) -> list[tuple[int, int]] | None:
    """`L9H6,L9H9` as (layer, head)."""
    if text is None:
        return None
    found = [re.fullmatch(r"L(\d+)H(\d+)", part.strip()) for part in text.split(",")]
    if not all(found):
        raise ValueError(
            f"--given {text}: give heads as layer and head with commas between them, such as L9H6,L9H9"
        )
    return [(int(head[1]), int(head[2])) for head in found if head is not None]


def _prompts(pairs: Path | None, task: str | None, count: int | None, seed: int | None) -> "Path | TaskPairs":
    from headwatch.tasks import TASKS
    from headwatch_callbacks.questions.prompt_source import TaskPairs

    if (pairs is None) == (task is None):
        raise ValueError("give the prompts: either --pairs FILE or --task NAME")
    if task is None:
        assert pairs is not None
        if count is not None:
            raise ValueError("--count can't take effect: it belongs to --task")
        return pairs
    TASKS.find(task)
    return TaskPairs(task, 64 if count is None else count, seed or 0)


def _own_tokenizer(checkpoint: str) -> str | None:
    """The first checkpoint's folder, where it holds a tokenizer too."""
    files = ("tokenizer.json", "vocab.json", "tokenizer_config.json")
    return checkpoint if any((Path(checkpoint) / file).is_file() for file in files) else None


def _evaluate(job: "EvalJob", devices: int, accelerator: str) -> None:
    from headwatch_callbacks.checkpoints.evaluate import evaluate as ask
    from headwatch_callbacks.checkpoints.evaluate import pending_passes

    console = Console(soft_wrap=True)
    todo = pending_passes(job)
    passes = sum(len(each.questions) for each in todo)
    asked = len(job.checkpoints) * len(job.questions.probes)
    if passes < asked:
        console.print(f"{asked - passes} of {asked} passes are in {job.record} already", highlight=False)
    if devices > 1 and passes:
        ask(job, todo, devices=devices, accelerator=accelerator, within=warning_in_one_line)
    elif passes:
        with _bars(passes) as watch:
            ask(job, todo, watch, accelerator=accelerator)
    where = job.record
    console.print(
        f"{passes} passes done; see: headwatch top {where}; headwatch report {where}", highlight=False
    )


@contextmanager
def _bars(passes: int) -> "Iterator[Bars]":
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress, passes)


class Bars:
    """One bar for all passes and one for the pass that runs.

    Args:
        progress: the display.
        passes: how many passes there will be.
    """

    def __init__(self, progress: Progress, passes: int) -> None:
        self.progress = progress
        self.all = progress.add_task("passes", total=passes)
        self.one = progress.add_task("", total=None)

    def started(self, what: str) -> None:
        """Show an empty bar for the pass that begins, with its step and question."""
        self.progress.reset(self.one, description=what, total=None)

    def advanced(self, done: int, total: int) -> None:
        """Fill the bar of the pass that runs."""
        self.progress.update(self.one, completed=done, total=total)

    def finished(self) -> None:
        """Count the pass in the bar of all passes."""
        self.progress.advance(self.all)
