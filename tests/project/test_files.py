"""The files beside the code: what they promise is what the project holds."""

import re
import tomllib
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import headwatch

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name):
    return (ROOT / name).read_text()


def requirements():
    """Every requirement of the package and of its extras, without the package itself."""
    extras = PROJECT["optional-dependencies"].values()
    listed = [Requirement(text) for text in [*PROJECT["dependencies"], *(t for e in extras for t in e)]]
    return [requirement for requirement in listed if requirement.name != "headwatch"]


def pinned():
    """The version of each package in constraints.txt."""
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    return {name(text): Version(version) for text, version in (line.split("==") for line in lines)}


def name(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def test_the_licence_is_the_one_that_the_metadata_name():
    assert PROJECT["license"] == "MIT"
    assert read("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 headwatch contributors\n")


def test_the_citation_has_what_cff_1_2_demands_and_is_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)  # what CFF demands
    known = {"cff-version", "message", "type", "title", "abstract", "authors", "version", "date-released"}
    assert set(citation) <= known | {"license", "keywords"}
    assert all(set(author) <= {"name"} for author in citation["authors"])
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"]
    assert citation["version"] == headwatch.__version__
    date.fromisoformat(citation["date-released"])


def test_the_changelog_starts_with_this_version_and_dates_every_one():
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), flags=re.M)
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings]
    assert all(versions), headings
    numbers = [Version(found[1]) for found in versions]
    assert str(numbers[0]) == headwatch.__version__
    assert numbers == sorted(numbers, reverse=True)
    released = [date.fromisoformat(found[2]) for found in versions]
    assert released == sorted(released, reverse=True)
    assert str(released[0]) == yaml.safe_load(read("CITATION.cff"))["date-released"]


def test_every_module_that_the_changelog_says_has_moved_is_where_it_says():
    table = read("CHANGELOG.md").partition("### Changed: places")[2].partition("### ")[0]
    moved = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", table, flags=re.M)
    assert len(moved) > 20
    for old, new in moved:
        import_module(new)
        assert old != new


def test_every_public_name_of_the_first_version_is_there_or_in_the_changelog():
    first = """ActivationCache Combined Effects GradientHeadImportance HeadEffects HeadScores HookPoint HookedGPT2
    PromptPair PromptPairs Record ablate ablate_head_sets ablate_heads act_name attach attention_patterns
    attribute_heads control_variate copying_scores export find_gpt2 head_scores in_context_learning_score metrics
    patch_activations patch_paths report serve tasks"""
    calls = read("CHANGELOG.md").partition("### Changed: calls")[2].partition("### ")[0]
    for name in first.split():
        assert name in headwatch.__all__ or f"| `headwatch.{name}" in calls, name


def test_what_the_readmes_commands_write_is_not_committed():
    written = re.findall(r"^headwatch .* -o (\S+\.\w+)", read("README.md"), flags=re.M)
    assert written == ["report.html", "heads.csv"]
    assert {f"/{file}" for file in written} <= set(read(".gitignore").splitlines())


def test_pre_commit_runs_the_same_linters_as_make_lint_and_downloads_nothing():
    repos = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = repos[0]["hooks"]
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "system"
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), flags=re.M)[1]
    for hook in hooks:
        tool = " ".join(hook["entry"].removeprefix(".venv/bin/").split(" --")[0].split())
        assert f"$(BIN)/{tool}" in recipe


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_hosted_ci_runs_the_readmes_test_command_on_every_python_that_is_promised(jobs):
    promised = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert jobs["test"]["strategy"]["matrix"]["python"] == promised
    assert f">={promised[0]}" == PROJECT["requires-python"]
    command = re.search(r"^(make test)\s+#", read("README.md"), flags=re.M)[1]
    assert command in commands(jobs["test"])
    assert read(".ci/run").rstrip().endswith(f"exec {command}")
    assert "make docs" in commands(jobs["test"])


def test_hosted_ci_tries_the_lowest_allowed_versions(jobs):
    assert any("--resolution lowest-direct" in command for command in commands(jobs["lowest"]))
    assert any("pytest" in command for command in commands(jobs["lowest"]))
    python = [
        s["with"]["python-version"] for s in jobs["lowest"]["steps"] if "setup-python" in s.get("uses", "")
    ]
    assert [f">={version}" for version in python] == [PROJECT["requires-python"]]


def test_every_requirement_names_a_lowest_version_that_the_pinned_one_satisfies():
    pins = pinned()
    for requirement in requirements():
        assert [part.operator for part in requirement.specifier] == [">="], requirement
        assert requirement.specifier.contains(pins[name(requirement.name)]), requirement


def test_constraints_pin_each_package_once_in_order():
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    assert len(lines) == len(pinned())
