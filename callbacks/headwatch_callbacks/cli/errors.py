"""How a command ends that can't do its work: one sentence on standard error, and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape


@contextmanager
def failing_in_one_sentence() -> Iterator[None]:
    """Turn an error that was written for people into its sentence and exit code 1; other errors stay tracebacks."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]headwatch:[/] {escape(str(error))}", highlight=False
        )
        raise typer.Exit(1) from error


@contextmanager
def refusing_usage() -> Iterator[None]:
    """Turn a ValueError about the options themselves into a usage error, exit code 2."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
