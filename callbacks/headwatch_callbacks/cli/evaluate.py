"""`headwatch eval`: probes over saved checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headwatch_callbacks.cli.errors import failing_in_one_sentence, refusing_usage
from headwatch_callbacks.cli.task_names import TASKS_HELP

if TYPE_CHECKING:
    from headwatch_callbacks.checkpoints.evaluate import Evaluation
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
        int, typer.Option("--count", "-n", min=1, help="Pairs of --task.", rich_help_panel="Prompts")
    ] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --task.", rich_help_panel="Prompts")] = 0,
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
    by_position: Annotated[
        bool, typer.Option("--by-position", help="Patch one position at a time.", rich_help_panel="Questions")
    ] = False,
    metric: Annotated[
        str | None, typer.Option(help="loss, logit_diff, kl, prob, accuracy.", rich_help_panel="Questions")
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
        from headwatch_callbacks.checkpoints.evaluate import Evaluation, Questions

        options = {"kind": kind, "site": site, "direction": direction, "metric": metric, "name": name}
        probes = tuple(part.strip() for part in probe.split(",") if part.strip())
        prompts = _prompts(pairs, task, count, seed)
        known = tokenizer or _own_tokenizer(checkpoints[0])
        asked = Questions(probes, prompts, known, by_position=by_position, **options)
        asked.callbacks()
    with failing_in_one_sentence():
        _evaluate(Evaluation(tuple(checkpoints), asked, record, config, prefix), devices, accelerator)


def _prompts(pairs: Path | None, task: str | None, count: int, seed: int) -> "Path | TaskPairs":
    from headwatch.tasks import TASKS
    from headwatch_callbacks.questions.prompt_source import TaskPairs

    if (pairs is None) == (task is None):
        raise ValueError("give the prompts: either --pairs FILE or --task NAME")
    if task is None:
        assert pairs is not None
        return pairs
    TASKS.find(task)
    return TaskPairs(task, count, seed)


def _own_tokenizer(checkpoint: str) -> str | None:
    """The first checkpoint's folder, where it holds a tokenizer too."""
    files = ("tokenizer.json", "vocab.json", "tokenizer_config.json")
    return checkpoint if any((Path(checkpoint) / file).is_file() for file in files) else None


def _evaluate(evaluation: "Evaluation", devices: int, accelerator: str) -> None:
    from headwatch_callbacks.checkpoints.evaluate import plan, run

    console = Console(soft_wrap=True)
    todo = plan(evaluation)
    passes = sum(len(each.probes) for each in todo)
    asked = len(evaluation.checkpoints) * len(evaluation.questions.probes)
    if passes < asked:
        console.print(
            f"{asked - passes} of {asked} passes are in {evaluation.record} already", highlight=False
        )
    if devices > 1 and passes:
        run(evaluation, todo, devices=devices, accelerator=accelerator)
    elif passes:
        with _bars(passes) as watch:
            run(evaluation, todo, watch, accelerator=accelerator)
    where = evaluation.record
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
        """A pass begins."""
        self.progress.reset(self.one, description=what, total=None)

    def advanced(self, done: int, total: int) -> None:
        """So much of so much of the pass is done."""
        self.progress.update(self.one, completed=done, total=total)

    def finished(self) -> None:
        """The pass is done."""
        self.progress.advance(self.all)
