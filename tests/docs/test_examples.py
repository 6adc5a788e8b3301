"""The examples in public docstrings run as they stand, and give what they say."""

import doctest
import inspect
from types import ModuleType

import pytest

import headwatch
import headwatch_callbacks
from tests.headwatch_callbacks.training import QUIET

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PACKAGES = (headwatch, headwatch_callbacks)
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name) for package in PACKAGES for name in package.__all__
}
OBJECTS = {name: value for name, value in PUBLIC.items() if not isinstance(value, ModuleType)}
MODULES = {name: value for name, value in PUBLIC.items() if isinstance(value, ModuleType)}


def examples(name, value, names):
    """The examples of an object and of its public methods, or of a module and what it defines."""
    module = value if isinstance(value, ModuleType) else inspect.getmodule(value)
    found = doctest.DocTestFinder().find(value, name, module=module, globs=names)
    return [test for test in found if test.examples]


def run(tests):
    """What goes wrong in some examples."""
    runner, said = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), []
    for test in tests:
        runner.run(test, out=said.append, clear_globs=False)
    return "".join(said)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_name_has_examples_that_give_what_they_say(name, at_hand):
    tests = examples(name, OBJECTS[name], at_hand)
    assert name in {test.name for test in tests}, f"{name} has no example"
    assert not run(tests)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_public_module_give_what_they_say(name, at_hand):
    assert not run(examples(name, MODULES[name], at_hand))


def test_an_example_that_gives_something_else_is_told(at_hand):
    [test] = doctest.DocTestFinder().find(_wrong, "wrong", globs={})
    assert "Expected:" in run([test])


def _wrong():
    """Two and two.

    >>> 2 + 2
    5
    """
