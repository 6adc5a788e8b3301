"""The reference from the docstrings: every public name by the room that it lives in, none forgotten."""

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger

PACKAGES = ("headwatch", "headwatch_callbacks")


class PublicNames(SphinxDirective):
    """`.. public-names:: PACKAGE`: the public classes and functions that live in some rooms of a package.

    Options:
        rooms: the files and folders, such as `ablation model`.
        members: with the methods of classes.
    """

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "rooms": directives.unchanged_required,
        "members": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        package, rooms = self.arguments[0], self.options["rooms"].split()
        shown = [name for name, room in public_names(package) if room in rooms]
        self.env.metadata[self.env.docname][f"shows {package} {' '.join(rooms)}"] = " ".join(shown)
        lines = [line for name in shown for line in _directive(package, name, "members" in self.options)]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, self.env.docname), 0, holder)
        return holder.children


def public_names(package: str) -> Iterator[tuple[str, str]]:
    """Each public class and function of a package, and the room that it lives in; modules are left out."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if not isinstance(value, ModuleType):
            yield name, inspect.getmodule(value).__name__.split(".")[1]  # type: ignore[union-attr]


def _directive(package: str, name: str, members: bool) -> list[str]:
    value = getattr(importlib.import_module(package), name)
    analyzer = ModuleAnalyzer.for_module(value.__module__)
    analyzer.analyze()
    analyzer.overloads.clear()  # one signature with every option says more than two without
    if not inspect.isclass(value):
        return [f".. autofunction:: {package}.{name}", ""]
    return [f".. autoclass:: {package}.{name}", *(["   :members:"] if members else []), ""]


def nothing_forgotten(app: Sphinx, env: Any) -> None:
    """Warn of each public name that no page shows."""
    shown = {
        name for data in env.metadata.values() for key, names in data.items()
        if key.startswith("shows ") for name in names.split()
    }  # fmt: skip
    for package in PACKAGES:
        for name, room in public_names(package):
            if name not in shown:
                getLogger(__name__).warning("no page shows %s.%s, of the room %r", package, name, room)


def before_napoleon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Write what a terminal shows well as reStructuredText: Markdown tables, and `Conv1D`s with its ending."""
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in _without_markdown_tables(lines)]


def after_napoleon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the asterisks of a shape such as `[pair, *dims]` from starting an emphasis."""
    lines[:] = [re.sub(r"^(:vartype \w+:) (.*)$", r"\1 ``\2``", line) for line in lines]


def readable_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write `...` for a default made anew for each object: `<factory>` can't be parsed, and leaves all of it raw."""
    return signature and signature.replace("= <factory>", "= ..."), returns


def _without_markdown_tables(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        if not line.startswith("|"):
            inside = False
            yield line
        elif not inside:
            inside = True
            yield from (".. list-table::", "   :header-rows: 1", "", *_row(line))
        elif line.strip("|- "):
            yield from _row(line)


def _row(line: str) -> list[str]:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return [f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive, and what is done with docstrings and signatures."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("env-check-consistency", nothing_forgotten)
    return {"parallel_read_safe": True}
