"""What may know what: the science knows no trainer and no tracker, and one file knows GPT-2's modules."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headwatch
import headwatch_callbacks

SCIENCE = Path(headwatch.__file__).parent
CALLBACKS = Path(headwatch_callbacks.__file__).parent
FORBIDDEN = (
    "lightning",
    "pytorch_lightning",
    "wandb",
    "tensorboard",
    "tensorboardX",
    "mlflow",
    "trackio",
    "headwatch_callbacks",
)
GPT2_MODULES = re.compile(r"\b(c_attn|c_proj|c_fc|ln_1|ln_2|ln_f|wte|wpe|lm_head|n_layer|n_head|n_embd)\b")
GPT2_CLASSES = re.compile(r"\bGPT2(?:[A-Z]\w*)?\b")
FAMILY = SCIENCE / "model" / "gpt2.py"
# Read the sizes and weights of saved GPT-2s by their names.
LOADERS = [
    CALLBACKS / "checkpoints" / name
    for name in ("configuration.py", "lightning_file.py", "load.py", "weights.py")
]
FILES = sorted(SCIENCE.rglob("*.py"))
ids = {"ids": lambda path: path.name}

IMPORT_ALL = f"""
import importlib, pkgutil, sys

sys.modules.update(dict.fromkeys({FORBIDDEN!r}))  # as if not installed: an import of one raises
import headwatch
for module in pkgutil.walk_packages(headwatch.__path__, "headwatch."):
    importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("headwatch")]))
"""


def imports(path: Path) -> list[tuple[int, str]]:
    """The line and name of each module that a file imports, and of what it takes from it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            found += [
                (node.lineno, node.module),
                *((node.lineno, f"{node.module}.{a.name}") for a in node.names),
            ]
    return found


def without_docstrings(path: Path) -> str:
    """A file's code, with neither comments nor docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = [ast.Pass(), *node.body[1:]]
    return ast.unparse(tree)


def test_the_science_can_be_imported_where_no_trainer_and_no_tracker_can():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(FILES)


@pytest.mark.parametrize("path", FILES, **ids)
def test_the_science_names_no_trainer_and_no_tracker(path):
    wrong = [f"{path}:{line} {name}" for line, name in imports(path) if name.split(".")[0] in FORBIDDEN]
    assert not wrong


OTHERS = [path for path in [*FILES, *sorted(CALLBACKS.rglob("*.py"))] if path not in (FAMILY, *LOADERS)]


@pytest.mark.parametrize("path", OTHERS, **ids)
def test_only_gpt2_py_knows_hugging_faces_gpt2(path):
    code = without_docstrings(path)
    assert not GPT2_MODULES.findall(code)
    # The one list of families names each once; a sentence for people may say what the class is called.
    named = GPT2_CLASSES.findall(code)
    assert set(named) <= ({"GPT2"} if path.name == "find.py" else set())
    wrong = [f"{path}:{line}" for line, name in imports(path) if name.startswith("transformers.models.gpt2")]
    assert not wrong


def test_the_scan_sees_the_layout_where_it_is():
    assert set(GPT2_MODULES.findall(without_docstrings(FAMILY))) >= {"c_attn", "c_proj", "ln_1"}
    assert set(GPT2_CLASSES.findall(without_docstrings(FAMILY))) >= {"GPT2LMHeadModel", "GPT2Block"}
    assert any(name.startswith("transformers.models.gpt2") for _, name in imports(FAMILY))


@pytest.mark.parametrize("path", [*FILES, *sorted(CALLBACKS.rglob("*.py"))], **ids)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400
