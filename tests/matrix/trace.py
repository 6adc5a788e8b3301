"""Everything about a training that a probe must not change: a list per column of the matrix."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tests.headwatch_callbacks.training import differences

COLUMNS = (
    "parameters",
    "buffers",
    "gradients",
    "optimizer state",
    "modes and hooks",
    "torch RNG",
    "numpy RNG",
    "Python RNG",
    "losses",
    "data order",
    "recompilations",
)
Trace = dict[str, list[Any]]


def new_trace() -> Trace:
    return {column: [] for column in COLUMNS}


def copied(value: Any) -> Any:
    """A copy whose tensors are whole and on their own."""
    if isinstance(value, Tensor):
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        return whole.detach().clone()
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [copied(each) for each in value]
    return value


def note_batch(trace: Trace, batch: Any) -> None:
    trace["data order"].append(copied({name: batch[name] for name in ("input_ids", "labels")}))


def note_gradients(trace: Trace, model: nn.Module) -> None:
    named = model.named_parameters()
    trace["gradients"].append({name: copied(p.grad) for name, p in named if p.grad is not None})


def note_state(trace: Trace, model: nn.Module, optimizers: list[Any]) -> None:
    """What stands after a batch, and at the end."""
    trace["parameters"].append(copied(dict(model.named_parameters())))
    trace["buffers"].append(copied(dict(model.named_buffers())))
    trace["optimizer state"].append([copied(each.state_dict()) for each in optimizers])
    trace["torch RNG"].append(torch.get_rng_state())
    trace["numpy RNG"].append(np.random.get_state()[1].tolist())
    trace["Python RNG"].append(list(random.getstate()[1]))


def note_modes(trace: Trace, model: nn.Module) -> None:
    trace["modes and hooks"].append({name: module.training for name, module in model.named_modules()})


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def note_end(trace: Trace, model: nn.Module, losses: list[Any], optimizers: list[Any]) -> None:
    """The same, after the last callback, with what stays on the model and what was compiled."""
    note_gradients(trace, model)
    note_state(trace, model, optimizers)
    note_modes(trace, model)
    hooks = {name: [len(getattr(m, kind)) for kind in HOOKS] for name, m in model.named_modules()}
    own = {name: sorted(vars(module)) for name, module in model.named_modules()}
    implementation = [
        getattr(getattr(module, "config", None), "_attn_implementation", "") for module in model.modules()
    ]
    trace["modes and hooks"].append([hooks, own, implementation])
    trace["losses"] = losses
    trace["recompilations"].append(
        {name: dict(counters[name]) for name in ("frames", "stats", "graph_break")}
    )


def compare(one: Trace, other: Trace) -> dict[str, list[str]]:
    """Where two traces differ by one bit, by column: at most three places each."""
    return {column: list(differences(one[column], other[column]))[:3] for column in COLUMNS}
