"""Modules become one script that does what they would do as modules, and what a browser would refuse is refused."""

import re
import shutil
import subprocess
from importlib import resources

import pytest

from headwatch.page.assemble import read_static
from headwatch.page.bundle import bundle, parse_module

STATIC = resources.files("headwatch.page").joinpath("static")
SCRIPTS = sorted(file.name for file in STATIC.iterdir() if file.name.endswith(".js"))


def reader(modules):
    def read(name):
        if name not in modules:
            raise FileNotFoundError(name)
        return modules[name]

    return read


def run(modules, entry="main.js"):
    """What the bundle logs, one text a line."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on PATH")
    script = bundle(entry, reader(modules)) + "console.log(Object.keys(globalThis).includes('leaked'));\n"
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_names_are_passed_on_and_nothing_else_is_seen():
    modules = {
        "main.js": 'import { one, Two as Second } from "./a.js";\nimport { later } from "./b.js";\n'
        "console.log(one, new Second().value, typeof hidden, typeof leaked);\nlater().then(console.log);\n",
        "a.js": "const hidden = 1;\nvar leaked = 3;\nexport const one = hidden;\n"
        "export class Two {\n  value = hidden + 1;\n}\n",
        "b.js": 'import { one } from "./a.js";\nexport async function later() {\n  return one + 10;\n}\n',
    }
    assert run(modules) == ["1 2 undefined undefined", "false", "11"]


def test_each_module_runs_once_and_after_those_that_it_imports():
    modules = {
        "main.js": 'import { a } from "./a.js";\nimport { b } from "./b.js";\nconsole.log("main", a === b);\n',
        "a.js": 'import { c } from "./c.js";\nconsole.log("a");\nexport const a = c;\n',
        "b.js": 'import { c } from "./c.js";\nconsole.log("b");\nexport const b = c;\n',
        "c.js": 'console.log("c");\nexport const c = {};\n',
    }
    assert run(modules) == ["c", "a", "b", "main true", "false"]


def test_an_import_over_several_lines():
    source = 'import {\n  one,\n  two as second,\n} from "./a.js";\nsecond();\n'
    module = parse_module("main.js", source)
    assert module.imports == {"a.js": [("one", "one"), ("two", "second")]}
    assert module.body == "second();\n"


def test_documentation_is_left_out_and_casts_stay():
    source = (
        "/** What it does. */\nconst a = /** @type {X} */ (b);\n  /**\n   * More.\n   */\nf();\n"
        "/** @type {X} */ (a).b();\n/** Last. */\ng();\n"
    )
    body = parse_module("main.js", source).body
    assert body == "const a = /** @type {X} */ (b);\nf();\n/** @type {X} */ (a).b();\ng();\n"


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"main.js": 'import { a } from "./b.js";\n'}, "main.js imports b.js, which is not there"),
        ({}, "the page imports main.js, which is not there"),
        (
            {"main.js": 'import { a } from "./b.js";\n', "b.js": "export const b = 1;\n"},
            "main.js imports a from b.js, which does not export it",
        ),
        (
            {"main.js": 'import { a } from "./b.js";\n', "b.js": "const a = 1;\n"},
            "main.js imports a from b.js, which does not export it",
        ),
        (
            {
                "main.js": 'import { b } from "./b.js";\n',
                "b.js": 'import { c } from "./c.js";\nexport const b = 1;\n',
                "c.js": 'import { b } from "./b.js";\nexport const c = 1;\n',
            },
            "in a circle: main.js → b.js → c.js → b.js",
        ),
        ({"main.js": 'import { a } from "./main.js";\nexport const a = 1;\n'}, "main.js → main.js"),
        ({"main.js": 'import * as b from "./b.js";\n'}, 'another form: import * as b from "./b.js";'),
        ({"main.js": 'import b from "./b.js";\n'}, "another form"),
        ({"main.js": 'import "./b.js";\n'}, "another form"),
        ({"main.js": 'import { a } from "https://example.org/b.js";\n'}, "another form"),
        ({"main.js": 'import { a } from "../b.js";\n'}, "another form"),
        ({"main.js": 'const b = await import("./b.js");\n'}, 'another form: import("./b.js");'),
        ({"main.js": "f(import.meta.url);\n"}, "another form"),
        ({"main.js": "export default 1;\n"}, "another form: export default 1;"),
        ({"main.js": "export let a = 1;\n"}, "another form: export let a = 1;"),
        ({"main.js": 'export { a } from "./b.js";\n'}, "another form"),
        ({"main.js": "const a = 1;\nexport { a };\n"}, "another form"),
    ],
)
def test_what_is_not_known_is_refused(modules, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        bundle("main.js", reader(modules))


def test_the_page_takes_all_its_modules():
    taken = re.findall(r'^modules\["([\w-]+\.js)"\] = ', bundle("main.js", read_static), re.M)
    assert sorted(taken) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_checked_and_can_be_read(name):
    lines = read_static(name).splitlines()
    assert lines[0] == "// @ts-check"
    assert max(len(line) for line in lines) <= 120
    assert len(lines) <= 400
