"""The wheel: what people install holds both packages, their licence, types and page, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "probes" / "headwatch", ROOT / "callbacks" / "headwatch_callbacks"]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        yield archive


def test_it_holds_every_file_of_the_two_packages_and_nothing_else(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    there = {
        file.relative_to(source.parent).as_posix()
        for source in SOURCES
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == there


@pytest.mark.parametrize(
    "needed",
    [
        "headwatch/py.typed",
        "headwatch_callbacks/py.typed",
        "headwatch/page/static/page.html",
        "headwatch/page/static/page.css",
    ],
)
def test_it_holds_what_is_no_python(wheel, needed):
    assert needed in wheel.namelist()


def test_it_holds_the_licence_and_says_what_it_is(wheel):
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert b"headwatch = headwatch_callbacks.cli:main" in wheel.read(f"{info}/entry_points.txt")
