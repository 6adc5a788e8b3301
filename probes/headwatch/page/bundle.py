"""The page's modules as one script: each in a function of its own, after those that it imports.

A module is an ES module with declared imports and exports, of the few forms that are needed here:
`import { a, b as c } from "./x.js";` and `export` before a function, a class or a const. Anything else, an import of
what is not there and a circle are refused, so that what a browser would load as modules and what stands in the page
are the same. Documentation comments stay behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_IMPORT = re.compile(r'^import \{([^{}]*)\} from "\./([\w-]+\.js)";\n', re.M)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) ([\w$]+))", re.M)
_UNREAD = re.compile(r"^(?:import|export)\b.*|\bimport *[(.].*", re.M)
_DOCUMENTATION = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/[ \t]*\n", re.M | re.S)


@dataclass(frozen=True)
class Module:
    """One script, taken apart.

    Attributes:
        imports: the names that it takes, by the module that they are from: (name there, name here).
        exports: the names that others may take.
        body: its code without `import` and `export`.
    """

    imports: dict[str, list[tuple[str, str]]]
    exports: list[str]
    body: str


def bundle(entry: str, read: Callable[[str], str]) -> str:
    """A classic script that runs a module and all that it imports, and leaves nothing in the global scope.

    Args:
        entry: the module to start with, such as `main.js`.
        read: gives a module's source by its name; raises FileNotFoundError where there is none.

    Raises:
        ValueError: a module that is not there, a name that it does not export, an import or export of another
            form, or modules that import each other in a circle.
    """
    modules: dict[str, Module] = {}
    _visit(entry, read, modules, ())
    parts = [_function(name, module) for name, module in modules.items()]
    return '"use strict";\n(() => {\nconst modules = {};\n' + "".join(parts) + "})();\n"


def _visit(name: str, read: Callable[[str], str], done: dict[str, Module], path: tuple[str, ...]) -> None:
    """Add a module after those that it imports."""
    if name in path:
        raise ValueError(f"modules import each other in a circle: {' → '.join((*path, name))}")
    if name in done:
        return
    try:
        module = parse_module(name, read(name))
    except FileNotFoundError as problem:
        raise ValueError(
            f"{path[-1] if path else 'the page'} imports {name}, which is not there"
        ) from problem
    for source, names in module.imports.items():
        _visit(source, read, done, (*path, name))
        missing = [there for there, _ in names if there not in done[source].exports]
        if missing:
            raise ValueError(f"{name} imports {missing[0]} from {source}, which does not export it")
    done[name] = module


def parse_module(name: str, source: str) -> Module:
    """Take a module apart.

    Raises:
        ValueError: an import or export of a form that is not known here.
    """
    code = _DOCUMENTATION.sub("", source)
    imports: dict[str, list[tuple[str, str]]] = {}
    for names, module in _IMPORT.findall(code):
        taken = [part.strip() for part in names.split(",") if part.strip()]
        pairs = [part.split(" as ") for part in taken]
        imports.setdefault(module, []).extend((pair[0], pair[-1]) for pair in pairs)
    body = _EXPORT.sub("", _IMPORT.sub("", code))
    unread = _UNREAD.search(body)
    if unread:
        raise ValueError(f"{name} has an import or export of another form: {unread[0]}")
    return Module(imports, _EXPORT.findall(code), body)


def _function(name: str, module: Module) -> str:
    """A module as a function that is called once and whose result is what it exports."""
    taken = "".join(
        f"const {{ {', '.join(there if there == here else f'{there}: {here}' for there, here in names)} }} "
        f'= modules["{source}"];\n'
        for source, names in module.imports.items()
    )
    given = ", ".join(module.exports)
    return f'modules["{name}"] = (() => {{\n{taken}{module.body}return {{ {given} }};\n}})();\n'
