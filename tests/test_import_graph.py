"""The house's floors: a room imports from the floors below it, never from its own or one above; no circles."""

import ast
import graphlib
from pathlib import Path

import pytest

import headwatch
import headwatch_callbacks

# From the ground up. A room is a file or a sub-package directly below the package.
FLOORS = {
    "headwatch": [
        ["cell_names", "data_frame", "lazy", "reading", "registry", "warn"],
        ["model", "prompts", "statistics"],
        ["pictures"],
        ["effects", "metrics", "scores", "tasks"],
        ["interventions", "plot", "record"],
        ["attribution", "engine", "page"],
        ["ablation", "estimates", "patching"],
    ],
    "headwatch_callbacks": [
        ["questions"],
        ["background", "ranks", "trackers"],
        ["checkpoints"],
        ["lightning_trainer"],
        ["hf_trainer"],
        ["cli"],
    ],
}
ROOTS = {
    "headwatch": Path(headwatch.__file__).parent,
    "headwatch_callbacks": Path(headwatch_callbacks.__file__).parent,
}
each_package = pytest.mark.parametrize("package", ROOTS)


def module_name(path: Path, root: Path) -> str:
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def without_type_checking(tree: ast.Module) -> ast.Module:
    """The module without what only a type checker reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return tree


def imported(source: str, known: set[str]) -> set[str]:
    """The known modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(without_type_checking(ast.parse(source))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (modules & known) or {node.module}
    return found & known


def import_graph(root: Path) -> dict[str, set[str]]:
    """What each module of a package imports of the same package."""
    files = {module_name(path, root): path for path in root.rglob("*.py")}
    graph = {name: imported(path.read_text(), set(files)) - {name} for name, path in files.items()}
    # A package stands for what its face re-exports, so that it is no circle to import a sibling from within.
    return {name: {other for other in others if other != root.name} for name, others in graph.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def upward(graph: dict[str, set[str]], floors: list[list[str]]) -> list[str]:
    """The imports that go up, or sideways to another room."""
    height = {name: number for number, floor in enumerate(floors) for name in floor}
    return sorted(
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if room(module) and room(module) != room(other) and height[room(other)] >= height[room(module)]
    )


@each_package
def test_every_room_stands_on_a_floor(package):
    rooms = {room(module) for module in import_graph(ROOTS[package])} - {""}
    assert rooms == {name for floor in FLOORS[package] for name in floor}


@each_package
def test_no_import_goes_up(package):
    assert upward(import_graph(ROOTS[package]), FLOORS[package]) == []


@each_package
def test_no_import_goes_round(package):
    graphlib.TopologicalSorter(import_graph(ROOTS[package])).prepare()


def test_the_science_imports_nothing_of_the_callbacks():
    known = {
        module_name(path, ROOTS["headwatch_callbacks"]) for path in ROOTS["headwatch_callbacks"].rglob("*.py")
    }
    for path in ROOTS["headwatch"].rglob("*.py"):
        assert not imported(path.read_text(), known), path


def test_the_scan_sees_an_upward_import_a_circle_and_one_within_a_function():
    known = {"a", "a.low", "a.high"}
    source = "def f():\n    from a.high import g\n"
    assert imported(source, known) == {"a.high"}
    assert imported("from a import low", known) == {"a.low"}
    graph = {"a.low": {"a.high"}, "a.high": {"a.low"}}
    assert upward(graph, [["low"], ["high"]]) == ["a.low imports a.high"]
    assert upward({"a.low": {"a.high"}, "a.high": set()}, [["low", "high"]]) == ["a.low imports a.high"]
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.high import g\n"
    assert imported(guarded, known) == set()
