"""Questions know no trainer and no tracker: they can be asked where none is installed."""

import subprocess
import sys
from pathlib import Path

import headwatch_callbacks.questions

FOLDER = Path(headwatch_callbacks.questions.__file__).parent
FORBIDDEN = ("lightning", "pytorch_lightning", "wandb", "mlflow", "trackio")

IMPORT_ALL = f"""
import importlib, pkgutil, sys

sys.modules.update(dict.fromkeys({FORBIDDEN!r}))  # as if not installed: an import of one raises
import headwatch_callbacks.questions as questions
for module in pkgutil.walk_packages(questions.__path__, "headwatch_callbacks.questions."):
    importlib.import_module(module.name)
print(*sorted(name for name in sys.modules if name.startswith("headwatch_callbacks.questions.")))
"""


def test_questions_can_be_imported_where_no_trainer_and_no_tracker_can():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = [file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__"]
    assert set(done.stdout.split()) >= {f"headwatch_callbacks.questions.{name}" for name in files}
