"""The documentation builds without a warning, shows every public name, and its links and files exist."""

import ast
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import headwatch
import headwatch_callbacks

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "probes" / "headwatch", ROOT / "callbacks" / "headwatch_callbacks"]
COMMAND = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, by the command of `make docs`; the walkthrough is run on the way."""
    folder = tmp_path_factory.mktemp("site") / "html"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *COMMAND, str(ROOT / "docs"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_make_docs_is_what_is_tested_here():
    assert f"$(BIN)/python {' '.join(COMMAND)} docs " in (ROOT / "Makefile").read_text()


def test_every_public_name_is_in_the_reference(site):
    with (site / "objects.inv").open("rb") as stream:
        objects = InventoryFile.load(stream, "", lambda base, path: path)
    shown = {name for kind, names in objects.items() if kind.startswith("py:") for name in names}
    public = {
        f"{package.__name__}.{name}"
        for package in (headwatch, headwatch_callbacks)
        for name in package.__all__
    }
    assert public <= shown


def test_a_signature_of_many_parameters_has_a_line_for_each(site):
    page = (site / "reference" / "results.html").read_text()
    signature = re.search(r'<dt class="sig [^>]*id="headwatch\.Effects">.*?</dt>', page, flags=re.S)[0]
    lines = [re.sub(r"<[^>]+>", "", line) for line in re.findall(r"<dd>(.*?)</dd>", signature, flags=re.S)]
    names = [line.partition(":")[0].strip() for line in lines]
    assert names == [field.name for field in fields(headwatch.Effects)]


def test_the_walkthrough_is_shown_with_what_it_prints_and_draws(site):
    page = (site / "walkthrough.html").read_text()
    assert "100% of the answers are right" in page
    assert page.count("<img") >= 3
    assert "Traceback" not in page


def test_every_picture_and_page_that_a_page_points_at_is_there(site):
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#:?]+)["#?]', page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(site)} points at {link}"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_docstrings_point_at_what_a_wheel_has(package):
    """A file that a docstring names lies in its package; a page of the documentation is called by its name."""
    wrong = []
    for path, text in docstrings(package):
        files = re.findall(r"[\w./-]+\.(?:md|rst|ipynb)\b", text)
        wrong += [f"{path}: {file}" for file in files if not (package / file).exists()]
        pages = re.findall(r"page '([\w-]+)' of the\s+documentation", text)
        wrong += [f"{path}: page {page!r}" for page in pages if not list((ROOT / "docs").glob(f"{page}.*"))]
    assert not wrong


def docstrings(package):
    """Each docstring of a package, with its file."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield path.relative_to(package), ast.get_docstring(node) or ""


def test_the_docstrings_that_are_looked_at_hold_such_a_pointer():
    assert any("page 'precision' of the" in text for _, text in docstrings(PACKAGES[0]))
