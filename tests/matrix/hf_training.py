"""A row trained by `transformers.Trainer`, and its trace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments

from headwatch_callbacks import ActivationPatching, AttentionMaps, HeadAblation
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from tests.matrix.trace import (
    Trace,
    copied,
    new_trace,
    note_batch,
    note_end,
    note_gradients,
    note_modes,
    note_state,
)
from tests.matrix.training import BATCH_SIZE, Training, compiled, data, network, seed
from tests.models import random_pairs


class Traced(TrainerCallback):
    """Notes what a probe must not change, before the probes of each step have run; `weights` by optimizer step."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.weights: dict[int, dict[str, Any]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.weights.setdefault(state.global_step, copied(dict(kwargs["model"].named_parameters())))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        note_modes(self.trace, kwargs["model"])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        note_gradients(self.trace, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        note_state(self.trace, kwargs["model"], [kwargs["optimizer"]])
        self.weights[state.global_step] = self.trace["parameters"][-1]


class NotesBatches(Trainer):
    """Notes each batch and its loss."""

    trace: Trace

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        note_batch(self.trace, inputs)
        loss = super().training_step(model, inputs, *arguments, **options)
        self.trace["losses"].append(loss.detach().clone())
        return loss


def probes(training: Training, folder: Path) -> list[TrainerCallback]:
    """The three callbacks that run under this Trainer."""
    when: dict[str, Any] = {"every_n_train_steps": 2}
    if training.on_validation:
        when = {"on_validation": True}
    how: dict[str, Any] = {"background": training.background, "max_overhead": training.max_overhead}
    pairs = random_pairs()
    asked = [
        HeadAblation(pairs, metric="loss", **when, **how),
        ActivationPatching(pairs, metric="logit_diff", **when, **how),
        AttentionMaps(pairs, **when, **how),
    ]
    return [HeadwatchCallback(asked, folder / "record")]


def arguments_of(training: Training, folder: Path, steps: int) -> TrainingArguments:
    saving: dict[str, Any] = {"save_strategy": "no"}
    if training.best_at_end:
        saving = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
        saving |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_worst_is_best"}
        saving |= {"greater_is_better": True}
    elif training.on_validation:
        saving |= {"eval_strategy": "steps", "eval_steps": 2}
    elif training.resumed:
        saving = {"save_strategy": "steps", "save_steps": steps}
    return TrainingArguments(
        output_dir=str(folder / "saved"),
        max_steps=steps,
        per_device_train_batch_size=BATCH_SIZE // training.processes,
        gradient_accumulation_steps=training.accumulate,
        gradient_checkpointing=training.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if training.checkpointing else None,
        max_grad_norm=training.clip or 0.0,
        learning_rate=1e-2,
        bf16=training.precision == "bf16-mixed",
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        **saving,
    )


def early_is_best(trainer: Trainer) -> Any:
    """A metric by which the first weights that were saved are the best, whatever the losses say."""
    return lambda prediction: {"worst_is_best": -float(trainer.state.global_step)}


def trained(training: Training, folder: Path, probed: bool, planted: Sequence[Any] = ()) -> tuple[Trace, Any]:
    """Train one process's part of a row; the trace, and the weights by step, the last of them under -1."""
    trace = new_trace()
    traced = Traced(trace)

    def one(steps: int) -> Trainer:
        seed()
        gpt, _ = compiled(network(training), training)
        rows = data().dataset
        callbacks = [traced, *planted, *(probes(training, folder) if probed else ())]
        arguments = arguments_of(training, folder, steps)
        trainer = NotesBatches(gpt, arguments, train_dataset=rows, eval_dataset=rows[:8], callbacks=callbacks)
        trainer.trace = trace
        trainer.compute_metrics = early_is_best(trainer) if training.best_at_end else None
        return trainer

    steps = 8 // training.accumulate
    if training.resumed:
        one(steps // 2).train()
    trainer = one(steps)
    trainer.train(resume_from_checkpoint=training.resumed or None)
    model = trainer.accelerator.unwrap_model(trainer.model)
    note_end(trace, model, trace["losses"], [trainer.optimizer])
    return trace, traced.weights | {-1: trace["parameters"][-1]}
