"""`headwatch pairs`: check a file of prompt pairs, or make one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwatch_callbacks.cli.errors import failing_in_one_sentence, refusing_usage
from headwatch_callbacks.cli.model_limits import ModelLimits, read_limits
from headwatch_callbacks.cli.task_names import TASKS_HELP

pairs = typer.Typer(help="Check a file of prompt pairs, or make one.", no_args_is_help=True)


@pairs.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines: clean, corrupted, answer, foil.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer's folder or its name on the hub; none for token ids.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model's folder: check its context and its vocabulary too.")
    ] = None,
) -> None:
    """List every line of FILE that is no usable pair, and what is wrong with it. Exits with 1 if there is one.

    Usable pairs that say less than they seem to (the same prompt twice, say) are doubted in a sentence each.
    """
    with failing_in_one_sentence():
        from headwatch.prompts.check_file import check_pair_file
        from headwatch.prompts.doubts import doubts
        from headwatch.prompts.pairs import PromptPairs

        limits = ModelLimits() if model is None else read_limits(model)
        problems = check_pair_file(file, tokenizer, limits.context, limits.vocabulary)
        found = None if problems else PromptPairs.from_jsonl(file, tokenizer)
    if found is not None:
        shortest, longest = int(found.lengths.min()), int(found.lengths.max())
        lengths = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        Console(soft_wrap=True).print(
            f"{file}: {len(found)} pairs of {lengths} tokens, all usable", highlight=False
        )
        for doubt in doubts(found):
            typer.echo(f"but {doubt}")
        return
    table = Table(
        "line", "what is wrong", title=escape(f"{file}: {len(problems)} unusable lines"), show_lines=True
    )
    for problem in problems:
        table.add_row(str(problem.line), escape(problem.message))
    Console().print(table)
    raise typer.Exit(1)


@pairs.command()
def make(
    task: Annotated[str, typer.Option(help=f"{TASKS_HELP}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON Lines file to write.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer's folder or its name on the hub; induction needs none.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many pairs.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pairs.")] = 0,
) -> None:
    """Write prompt pairs of a ready-made task."""
    from headwatch import tasks

    with refusing_usage():
        tasks.TASKS.find(task)
    with failing_in_one_sentence():
        made = tasks.make(task, tokenizer, count, seed)
        made.to_jsonl(output)
    left_out = f"; {made.dropped} words left out that are several tokens" if made.dropped else ""
    Console(soft_wrap=True).print(
        f"{output}: {len(made)} pairs, metric {made.metric}{left_out}", highlight=False
    )
