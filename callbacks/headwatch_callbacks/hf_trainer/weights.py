"""Which step's weights a model has."""

from pathlib import Path

from torch import nn
from transformers import TrainerState, TrainingArguments

from headwatch_callbacks.checkpoints.load import saved_step


def is_sharded(args: TrainingArguments) -> bool:
    """Whether no process has the whole model."""
    return bool(args.fsdp or args.deepspeed)


def loaded_step(model: nn.Module) -> int:
    """The step at which a Trainer saved the folder that a model was loaded from; 0 where it is no such folder."""
    folder = Path(getattr(model, "name_or_path", None) or "")
    return saved_step(folder) or 0 if (folder / "trainer_state.json").is_file() else 0


def best_step(args: TrainingArguments, state: TrainerState) -> int | None:
    """The step of the weights that `load_best_model_at_end` has put into the model; None where it has not."""
    if not args.load_best_model_at_end or state.best_model_checkpoint is None:
        return None
    if state.best_global_step:
        return state.best_global_step
    number = Path(state.best_model_checkpoint).name.rpartition("-")[2]
    return int(number) if number.isdigit() else None
