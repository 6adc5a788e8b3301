"""A row trained by Lightning, and its trace."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation
from tests.matrix.trace import Trace, new_trace, note_batch, note_end, note_gradients, note_modes, note_state
from tests.matrix.training import N_BATCHES, N_EPOCHS, Training, data, module_of, seed
from tests.models import random_pairs


class Traced(pl.Callback):
    """Notes what a probe must not change, before the probes of each batch have run; `weights` by optimizer step."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.weights: dict[int, dict[str, Any]] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        note_batch(self.trace, batch)
        note_modes(self.trace, pl_module)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        note_gradients(self.trace, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        note_state(self.trace, pl_module, trainer.optimizers)
        self.weights.setdefault(0, self.trace["parameters"][-1])

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        note_state(self.trace, pl_module, trainer.optimizers)
        note_gradients(self.trace, pl_module)
        self.weights[trainer.global_step // len(trainer.optimizers)] = self.trace["parameters"][-1]


class SavesAt(pl.Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)


def probes(training: Training, folder: Path) -> list[Any]:
    """All four callbacks."""
    steps = 2 * training.optimizers
    when: dict[str, Any] = {"every_n_train_steps": steps}
    if training.on_validation:
        when = {"on_validation": True}
    how: dict[str, Any] = {"background": training.background, "max_overhead": training.max_overhead}
    pairs = random_pairs()
    sweep = {} if training.budget is None else {"budget": training.budget}
    return [
        HeadAblation(pairs, metric="loss", record=folder / "record", **sweep, **when, **how),
        ActivationPatching(pairs, metric="logit_diff", **sweep, **when, **how),
        AttentionMaps(pairs, **when, **how),
        GradientImportance(**when),
    ]


def trainer_of(
    training: Training, callbacks: Sequence[Any], folder: Path, max_steps: int, **more: Any
) -> Any:
    """A trainer that prints nothing, and saves nothing by itself."""
    package = import_module(training.package)
    settings: dict[str, Any] = {"precision": training.precision}
    if training.precision == "16-mixed":
        plugin = import_module(f"{training.package}.plugins").MixedPrecision("16-mixed", "cpu")
        settings = {"plugins": [plugin]}
    if training.strategy:
        settings |= {"devices": training.processes, "strategy": strategy_of(training)}
    if training.optimizers == 1:
        settings |= {"accumulate_grad_batches": training.accumulate, "gradient_clip_val": training.clip}
    settings |= {
        "max_epochs": N_EPOCHS,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "limit_val_batches": None if training.validated else 0,
    }
    callbacks, where = list(callbacks), {"default_root_dir": folder, "accelerator": "cpu"}
    return package.Trainer(callbacks=callbacks, max_steps=max_steps, **where, **settings | more)


def strategy_of(training: Training) -> Any:
    if training.strategy == "fsdp2":
        return pl.strategies.ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    return training.strategy


def averaging_of(training: Training) -> list[Any]:
    package = import_module(f"{training.package}.callbacks")
    if training.averaging == "EMA":
        return [package.EMAWeightAveraging(decay=0.5)]
    if training.averaging == "SWA":
        return [package.StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1, annealing_epochs=1)]
    return []


def trained(training: Training, folder: Path, probed: bool, planted: Sequence[Any] = ()) -> tuple[Trace, Any]:
    """Train one process's part of a row; the trace, and the weights by step, the last of them under -1."""
    trace = new_trace()
    traced = Traced(trace)

    def callbacks() -> list[Any]:
        # The trace stands first at a batch's end, so the probes follow it.
        return [traced, *averaging_of(training), *planted, *(probes(training, folder) if probed else ())]

    seed()
    module = module_of(training)
    path = None
    if training.resumed:
        half, path = training.steps // 2, folder / "half.ckpt"
        before = trainer_of(training, [*callbacks(), SavesAt(half - 1, path)], folder, half)
        before.fit(module, data(N_BATCHES * training.processes), data(2, shuffle=False))
        seed()
        module = module_of(training)
    trainer = trainer_of(training, callbacks(), folder, training.steps)
    trainer.fit(
        module,
        data(N_BATCHES * training.processes),
        data(2, shuffle=False),
        ckpt_path=path,
        weights_only=False,
    )
    note_end(trace, module, module.losses, trainer.optimizers)
    return trace, traced.weights | {-1: trace["parameters"][-1]}
