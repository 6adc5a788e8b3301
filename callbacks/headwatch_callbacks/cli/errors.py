"""How a command says that it can't do its work, or not as one would expect: one sentence on standard error."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from headwatch.record import Record

INCOMPLETE = 3  # the exit code
SHOWN_PROBLEMS = 5


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


def tell_unreadable(*records: "Record") -> None:
    """Say on standard error what of some records could not be read, before the rest of them is shown."""
    for record in records:
        if record.unreadable:
            many = "1 line" if record.unreadable == 1 else f"{record.unreadable} lines"
            typer.echo(
                f"headwatch: {many} of {record.directory / 'probes.jsonl'} could not be read and what they hold is"
                " missing here:",
                err=True,
            )
        shown = record.problems[:SHOWN_PROBLEMS]
        more = len(record.problems) - len(shown)
        for problem in (*shown, *([f"and {more} more"] if more else [])):
            typer.echo(f"headwatch: {problem}", err=True)


def exit_if_incomplete(*records: "Record") -> None:
    """End with exit code 3 where lines of the records could not be read: what was shown is not all."""
    if any(record.unreadable for record in records):
        raise typer.Exit(INCOMPLETE)


@contextmanager
def refusing_usage() -> Iterator[None]:
    """Turn a ValueError about the options themselves into a usage error, exit code 2."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def warning_in_one_line() -> Iterator[None]:
    """Show headwatch's own kind of warning as a line of its own, without the place in the code that gave it."""
    show_with_place = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, RuntimeWarning):
            show_with_place(message, category, filename, lineno, file, line)
            return
        # Plain text to the stream of the moment, which keeps a progress bar whole.
        said = " ".join(str(message).split())
        typer.echo(f"{typer.style('headwatch: warning:', fg='yellow', bold=True)} {said}", err=True)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = show_with_place
