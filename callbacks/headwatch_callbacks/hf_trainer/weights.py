"""Which step's weights a model has, and whether they have changed."""

from pathlib import Path

import torch
from torch import nn
from transformers import TrainerState, TrainingArguments

from headwatch_callbacks.checkpoints.load import saved_step

_SAMPLED = 16  # values of each tensor

Mark = tuple[int, ...]


def weights_mark(model: nn.Module) -> Mark:
    """What changes when weights do: how often each tensor was written, and some of its values.

    Some are needed for code that writes into `parameter.data`, which torch does not count. It reads a few kB.
    """
    tensors = [*model.parameters(), *model.buffers()]
    written = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    with torch.no_grad():
        some = [tensor.flatten()[:: max(1, tensor.numel() // _SAMPLED)].double().cpu() for tensor in tensors]
        values = torch.cat(some).view(torch.int64).tolist() if some else []
    return (*written, *values)


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
