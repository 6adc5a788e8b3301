"""`headwatch report` and `headwatch serve`: the page, as a file or live."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwatch_callbacks.cli.errors import failing_in_one_sentence


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run, or several to compare.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Write a self-contained HTML page of one or more runs."""
    with failing_in_one_sentence():
        from headwatch.page import report as write
        from headwatch.record.find import only_record

        file = write([only_record(run) for run in runs], output)
    Console(soft_wrap=True).print(
        f"{file} ({file.stat().st_size / 1e6:.1f} MB): open it in a browser", highlight=False
    )


def serve(
    runs_dir: Annotated[Path, typer.Argument(metavar="RUNS_DIR", help="A folder of runs, or one run.")],
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but loopback needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 = any free one.")] = 6007,
    token: Annotated[str | None, typer.Option(help="A secret that the address must carry.")] = None,
) -> None:
    """Serve a page that grows while runs train. Stop it with Ctrl-C."""
    console = Console(soft_wrap=True)
    with failing_in_one_sentence():
        from headwatch.page import serve as listen

        listen(
            runs_dir,
            host,
            port,
            token,
            on_ready=lambda url: console.print(f"{url} (Ctrl-C stops)", markup=False, emoji=False),
        )
