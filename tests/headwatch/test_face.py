"""What `import headwatch` gives: the public names and nothing else, at no cost until one is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import headwatch
import headwatch_callbacks

PACKAGES = (headwatch, headwatch_callbacks)
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


def names_for_type_checkers(package) -> set[str]:
    """What stands under `if TYPE_CHECKING:`."""
    tree = ast.parse(Path(package.__file__).read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.name for block in blocks for node in block.body for alias in node.names}


def after_importing(package: str, expression: str) -> str:
    code = f"import sys, {package}; print({expression})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@each_package
def test_completion_offers_the_public_names_and_nothing_else(package):
    for name in package.__all__:
        getattr(package, name)  # which imports sub-modules, and these must not show
    assert dir(package) == sorted([*package.__all__, "__version__"])


@pytest.mark.parametrize("module", [headwatch.plot, headwatch.tasks], ids=["plot", "tasks"])
def test_a_public_module_completes_its_public_names_and_nothing_else(module):
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@each_package
def test_a_type_checker_sees_the_same_names_as_a_running_program(package):
    assert names_for_type_checkers(package) == set(package.__all__) == set(package._HOMES)


@each_package
def test_every_name_is_what_its_home_calls_so(package):
    for name, home in package._HOMES.items():
        module = importlib.import_module(f"{package.__name__}.{home}")
        assert getattr(package, name) is (module if home == name else getattr(module, name))


@each_package
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'ablate_hats'"):
        package.ablate_hats  # noqa: B018


@each_package
def test_the_version_is_that_of_the_distribution(package):
    assert package.__version__ == headwatch.__version__
    assert importlib.import_module("importlib.metadata").version("headwatch") == headwatch.__version__


@pytest.mark.parametrize("package", ["headwatch", "headwatch_callbacks"])
def test_importing_costs_nothing_until_a_name_is_used(package):
    heavy = ("torch", "transformers", "numpy", "lightning", "torchmetrics", "wandb")
    assert after_importing(package, f"[name for name in {heavy} if name in sys.modules]") == "[]"


@pytest.mark.parametrize("question", ["ablate_heads", "patch_activations", "attribute_heads"])
def test_a_path_in_place_of_pairs_is_told_how_to_make_them(question):
    code = (
        "import headwatch as hw, torch\n"
        f"try: hw.{question}(torch.nn.Linear(1, 1), 'pairs.jsonl')\n"
        "except TypeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pairs='pairs.jsonl': give PromptPairs, such as hw.PromptPairs.from_jsonl(")
