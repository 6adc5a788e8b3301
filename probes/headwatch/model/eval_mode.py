"""Running a user's model without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from headwatch.model.kept_state import kept_state


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no compiled code inside; modes and what `kept_state` keeps are put back after."""
    with kept_state(model), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for module in model.modules():
            module.training = False
        yield
