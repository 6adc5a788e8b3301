"""Questions that a worker process imports: one that waits, one that fails, one that warns, one that draws."""

import time
import warnings
from pathlib import Path

import torch

from headwatch_callbacks.questions.question import Question
from headwatch_callbacks.questions.result import ProbeResult


class Says(Question):
    """Answers with one weight of the model."""

    probe = asked = "says"

    def measure(self, model, at, progress):
        weight = model.transformer.wte.weight[0, 0].item()
        return [
            ProbeResult("says", self.identity, at.step, at.epoch, scores={"s": torch.full((3, 4), weight)})
        ]


class Waits(Says):
    """Answers once a file is there."""

    def __init__(self, gate: Path, name=None):
        super().__init__(name)
        self.gate = gate

    def measure(self, model, at, progress):
        while not self.gate.exists():
            time.sleep(0.01)
        return super().measure(model, at, progress)


class Fails(Says):
    def measure(self, model, at, progress):
        raise RuntimeError("no such luck")


class Warns(Says):
    def measure(self, model, at, progress):
        warnings.warn("a word of warning", RuntimeWarning, stacklevel=2)
        return super().measure(model, at, progress)


class State(Says):
    """Answers with what the code around it set: evaluation mode, gradients, precision, threads."""

    def measure(self, model, at, progress):
        state = {
            "training": model.training,
            "gradients": torch.is_grad_enabled(),
            "bf16": torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16,
            "threads": torch.get_num_threads(),
            "matmul": torch.get_float32_matmul_precision() == "high",
        }
        found = {name: torch.full((3, 4), float(value)) for name, value in state.items()}
        return [ProbeResult("says", self.identity, at.step, at.epoch, scores=found)]
