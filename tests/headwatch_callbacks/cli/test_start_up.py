"""Commands that only read a record start at once: they import nothing that models need."""

import subprocess
import sys
from textwrap import dedent

import pytest

from tests.headwatch.record.test_events import STEPS, trajectories, write

HEAVY = (
    "torch",
    "transformers",
    "lightning",
    "wandb",
    "torchmetrics",
    "PIL",
    "huggingface_hub",
    "matplotlib",
)


@pytest.mark.parametrize(
    "command",
    [
        ["top", "RUN"],
        ["events", "RUN"],
        ["compare", "RUN", "--from", str(STEPS[0]), "--to", str(STEPS[1])],
        ["export", "RUN", "-o", "OUT.csv"],
        ["report", "RUN", "-o", "OUT.html"],
        ["serve", "--help"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_reads_a_record_imports_nothing_heavy(tmp_path, command):
    write(tmp_path / "RUN", trajectories())
    script = f"""
        import sys
        from headwatch_callbacks.cli import main
        sys.argv = ["headwatch", *{command}]
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
        if "serve" in sys.argv:
            import headwatch.page.serve
        assert not sys.modules.keys() & set({HEAVY}), sys.modules.keys() & set({HEAVY})
    """
    subprocess.run([sys.executable, "-c", dedent(script)], cwd=tmp_path, check=True, capture_output=True)
