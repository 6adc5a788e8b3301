"""Fields of other libraries that are not their public face: this says which one has gone, should one go."""

import ast
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities.compile import from_compiled
from torch import nn

import headwatch_callbacks
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer

FIELDS = {
    "_batches_that_stepped": "a fit's epoch loop; lightning_trainer/steps.py reads the loss's x from it",
    "_compiler_ctx": "a LightningModule; lightning_trainer/gradient_importance.py knows from it a compiled one",
    "_check_on_train_epoch_end": "an EarlyStopping; lightning_trainer/monitored.py knows from it when it looks",
    "_compiled_call_impl": "an nn.Module; lightning_trainer/gradient_importance.py knows from it a compiled one",
    "_dynamo": "torch; lightning_trainer/gradient_importance.py finds OptimizedModule there",
    "_hooks": "an nn.Module, what its hooks' names end in; ranks/whole_model.py leaves out those that gather weights",
    "_orig_mod": "a module that torch.compile gives; checkpoints/load.py takes it out of the weights' names",
    "_original_forward": "a model that accelerate prepares; hf_trainer/precision.py takes its own forward from it",
    "_timeout": "a strategy of many processes; lightning_trainer/ranks.py waits for them as long as that",
    "_tracking_uri": "MLFlowLogger; trackers/mlflow.py reads it to refuse the file store",
}
each_lightning = pytest.mark.parametrize(
    "library", [pl, pytorch_lightning], ids=lambda library: library.__name__
)

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


def gone(name):
    """What a failing test says."""
    return f"this field has gone: {name} of {FIELDS[name]}"


def private_names(file):
    """Every `other._name` and every text that is such a name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.rstrip(".")


def test_every_private_field_that_is_used_is_named_here():
    files = Path(headwatch_callbacks.__file__).parent.rglob("*.py")
    used = {name for file in files for name in private_names(file) if re.fullmatch(r"_[a-z]\w*", name)}
    assert used == set(FIELDS)


@each_lightning
def test_an_epoch_loop_still_counts_the_batches_that_stepped(library):
    loop = library.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit_loop.epoch_loop
    assert hasattr(loop, "_batches_that_stepped"), gone("_batches_that_stepped")
    assert loop._batches_that_stepped == 0


@each_lightning
@pytest.mark.parametrize("name", ["DDPStrategy", "ModelParallelStrategy"])
def test_a_strategy_still_knows_its_timeout(library, name):
    strategy = getattr(library.strategies, name)(timeout=timedelta(seconds=7))
    assert getattr(strategy, "_timeout", None) == timedelta(seconds=7), gone("_timeout")


@pytest.mark.parametrize("steps", [1, 3])
def test_a_checkpoint_still_holds_the_batches_that_stepped(steps, tmp_path):
    run = trainer([], tmp_path, max_steps=steps, accumulate_grad_batches=2)
    run.fit(Language(), batches(), batches(2, shuffle=False))
    run.save_checkpoint(tmp_path / "kept.ckpt")
    loop = torch.load(tmp_path / "kept.ckpt")["loops"]["fit_loop"]["epoch_loop.state_dict"]
    assert "_batches_that_stepped" in loop, gone("_batches_that_stepped")
    assert loop["_batches_that_stepped"] == run.fit_loop.epoch_loop._batches_that_stepped == steps


@each_lightning
def test_a_lightning_module_still_says_that_it_is_not_compiled(library):
    module = library.LightningModule()
    assert hasattr(module, "_compiler_ctx"), gone("_compiler_ctx")
    assert module._compiler_ctx is None


def test_a_lightning_module_still_says_that_it_is_compiled():
    module = from_compiled(torch.compile(Language(), backend="eager"))
    assert getattr(module, "_compiler_ctx", None) is not None, gone("_compiler_ctx")


def test_a_module_still_says_whether_it_was_compiled_in_place():
    module = nn.Linear(1, 1)
    assert hasattr(module, "_compiled_call_impl"), gone("_compiled_call_impl")
    assert module._compiled_call_impl is None
    module.compile(backend="eager")
    assert module._compiled_call_impl is not None


def test_a_compiled_module_still_is_what_it_was_known_by():
    assert hasattr(getattr(torch, "_dynamo", None), "OptimizedModule"), gone("_dynamo")
    compiled = torch.compile(nn.Linear(1, 1), backend="eager")
    assert isinstance(compiled, torch._dynamo.OptimizedModule), gone("_dynamo")
    assert set(compiled.state_dict()) == {"_orig_mod.weight", "_orig_mod.bias"}, gone("_orig_mod")


def test_a_module_still_keeps_its_hooks_by_such_names():
    module = nn.Linear(1, 1)
    module.register_forward_hook(print)
    module.register_forward_pre_hook(print)
    module.register_full_backward_hook(print)
    kept = {name: len(hooks) for name, hooks in vars(module).items() if name.endswith("_hooks") and hooks}
    assert kept == {"_forward_hooks": 1, "_forward_pre_hooks": 1, "_backward_hooks": 1}, gone("_hooks")


def test_a_prepared_model_still_has_its_own_forward():
    # In a process of its own: accelerate keeps the first precision that it is told.
    script = """
        import accelerate, torch
        module = torch.nn.Linear(1, 1)
        own = module.forward
        prepared = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare_model(module)
        assert prepared._original_forward == own
    """
    ended = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True)
    assert ended.returncode == 0, gone("_original_forward") + ended.stderr


@pytest.mark.filterwarnings("ignore::Warning:mlflow")
def test_an_mlflow_logger_still_says_where_it_writes(tmp_path):
    pytest.importorskip("mlflow", reason="needs the extra headwatch[mlflow]")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = MLFlowLogger(tracking_uri=uri)
    assert hasattr(logger, "_tracking_uri"), gone("_tracking_uri")
    assert logger._tracking_uri == uri
