"""A warning of headwatch is one line on the terminal, without a place in the code."""

import shutil
import subprocess
import sys
import warnings

import pytest
from typer.testing import CliRunner

from headwatch_callbacks.cli import app
from headwatch_callbacks.cli.errors import warning_in_one_line
from tests.models import tiny_gpt2

TWICE = (
    "headwatch: warning: the checkpoints checkpoint-20 (step 20) and checkpoint-40 (step 40) have identical weights: "
    "either nothing was trained in between, or one of them was saved under another's step"
)


@pytest.fixture
def twice(tmp_path):
    """The command line that probes one model under two steps."""
    tiny_gpt2().save_pretrained(tmp_path / "checkpoint-20")
    shutil.copytree(tmp_path / "checkpoint-20", tmp_path / "checkpoint-40")
    checkpoints = [str(tmp_path / f"checkpoint-{step}") for step in (20, 40)]
    asked = ["--task", "induction", "-n", "4", "--probe", "ablation", "--accelerator", "cpu"]
    return ["eval", *checkpoints, *asked, "-o", str(tmp_path / "run")]


@pytest.mark.filterwarnings("always:the checkpoints:RuntimeWarning")
def test_a_warning_is_one_line_without_a_place_in_the_code(twice):
    result = CliRunner().invoke(app, twice)
    assert result.exit_code == 0, result.output
    assert result.stderr.strip() == TWICE
    assert "2 passes done" in result.stdout


@pytest.mark.parametrize("devices", ["1", "2"])
def test_the_program_says_it_too_and_so_do_several_processes(twice, devices, tmp_path):
    program = tmp_path / "main.py"
    program.write_text("from headwatch_callbacks.cli import main\nif __name__ == '__main__': main()")
    command = [sys.executable, str(program), *twice, "--devices", devices]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    assert TWICE in ended.stderr.splitlines()
    assert "RuntimeWarning" not in ended.stderr


def give_two_warnings():
    with warning_in_one_line():
        warnings.warn("one\nline", RuntimeWarning, stacklevel=1)
        warnings.warn("it will go", FutureWarning, stacklevel=1)


@pytest.mark.filterwarnings("always:one:RuntimeWarning")
def test_only_the_kind_that_headwatch_gives_is_shown_so(capsys):
    with pytest.warns(FutureWarning, match="it will go"):
        give_two_warnings()
    assert capsys.readouterr() == ("", "headwatch: warning: one line\n")


def test_afterwards_warnings_are_shown_as_before():
    shown = warnings.showwarning
    with warning_in_one_line():
        assert warnings.showwarning is not shown
    assert warnings.showwarning is shown
