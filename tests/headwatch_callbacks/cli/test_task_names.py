"""Help lists the tasks without importing them; here it is held to the registry."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from headwatch.tasks import TASKS
from headwatch_callbacks.cli import app
from headwatch_callbacks.cli.task_names import TASK_NAMES


def test_the_list_is_the_registry():
    assert sorted(TASK_NAMES) == sorted(TASKS)


@pytest.mark.parametrize("command", [["eval"], ["pairs", "make"]])
def test_help_names_every_task(command):
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "300"}).output
    for name in TASKS:
        assert name in shown


def test_help_of_a_command_answers_without_torch():
    program = (
        "import sys; from headwatch_callbacks.cli import main; sys.argv[1:] = ['pairs', 'make', '--help']\n"
    )
    program += "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip().endswith("0 False")
