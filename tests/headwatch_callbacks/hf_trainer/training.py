"""Short trainings by `transformers.Trainer`, and whether two of them are the same."""

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from tests.models import random_ids, tiny_gpt2


def trainer_of(folder, *callbacks, steps=6, report_to=(), model=None, **settings):
    """A Trainer for a short training with dropout and a shuffled data set."""
    arguments = TrainingArguments(
        **{
            "output_dir": str(folder),
            "max_steps": steps,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": list(report_to),
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
            **settings,
        }
    )
    data = [{"input_ids": row, "labels": row} for row in random_ids(32, 8)]
    model = tiny_gpt2().train() if model is None else model
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data[:8], callbacks=list(callbacks))


def train(folder, *callbacks, **settings):
    """Train: the trainer, and the states of randomness at the end."""
    trainer = trainer_of(folder, *callbacks, **settings)
    trainer.train()
    return trainer, torch.get_rng_state(), np.random.get_state()[1]


def same(one, other):
    """Whether two trainings had the same losses and came to the same weights and states of randomness, bit for bit."""
    losses = [[row["loss"] for row in each[0].state.log_history if "loss" in row] for each in (one, other)]
    states = [each[0].model.state_dict() for each in (one, other)]
    return (
        losses[0] == losses[1]
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and torch.equal(one[1], other[1])
        and np.array_equal(one[2], other[2])
    )
