"""The `headwatch` command line. Nothing heavy is imported before a command needs it: `--help` answers at once.

Exit codes: 0 it worked, 1 it failed (the last line says why), 2 it was asked for something that makes no sense, 3 it
worked, but lines of a record could not be read: standard error says how many, of which file and why.
"""

import typer

from headwatch_callbacks.cli.compare import compare
from headwatch_callbacks.cli.errors import warning_in_one_line
from headwatch_callbacks.cli.evaluate import evaluate
from headwatch_callbacks.cli.events import events
from headwatch_callbacks.cli.export import export
from headwatch_callbacks.cli.pages import report, serve
from headwatch_callbacks.cli.pairs import pairs
from headwatch_callbacks.cli.top import top

app = typer.Typer(
    name="headwatch",
    help="See what every attention head of a GPT-2 does, while it trains or once it is frozen.\n\n"
    "A RUN is the folder in which a training's probes, or `headwatch eval`, left their record.",
    epilog="Exit codes: 0 it worked, 1 it failed, 2 nonsense was asked for, 3 lines of a record are unreadable.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("eval")(evaluate)
app.command()(top)
app.command()(compare)
app.command()(events)
app.command()(report)
app.command()(serve)
app.command()(export)
app.add_typer(pairs, name="pairs")


@app.callback()
def _around_every_command(context: typer.Context) -> None:
    context.with_resource(warning_in_one_line())


def main() -> None:
    """Run what `sys.argv` asks for and end the process; the entry point of the `headwatch` program."""
    app(prog_name="headwatch")
