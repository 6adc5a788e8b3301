"""What forwards change in a model besides its answer is put back after them: a user's hook may count, cache or note.

Its cost is a copy of the buffers, 12 MB for GPT-2 small. Parameters are not copied, and no forward changes them
unless it is made to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def kept_state(model: nn.Module) -> Iterator[None]:
    """Every buffer has its values, and every attribute of every module its object, as before.

    What an attribute's object holds is its own business: of a list only which list it is is put back.
    """
    kept = [_ModuleState(module) for module in model.modules()]
    try:
        yield
    finally:
        for state in kept:
            state.put_back()


class _ModuleState:
    """One module as it was."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes: dict[str, Any] = dict(module.__dict__)
        self.buffers = dict(module._buffers)
        self.values = [_Values(buffer) for buffer in self.buffers.values() if buffer is not None]

    def put_back(self) -> None:
        _rebind(self.module.__dict__, self.attributes)
        _rebind(self.module._buffers, self.buffers)
        for values in self.values:
            values.put_back()


class _Values:
    """A tensor as it was."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.copy = tensor, tensor.detach().clone()
        self.version = None if tensor.is_inference() else tensor._version

    def put_back(self) -> None:
        """In place, and only where somebody wrote: a graph may hold the tensor as it is."""
        if self._written():
            with torch.inference_mode(self.version is None), torch.no_grad():
                self.tensor.copy_(self.copy)

    def _written(self) -> bool:
        if self.version is None:  # tensors of inference mode don't count how often they were written to
            return not torch.equal(self.tensor, self.copy)
        return self.tensor._version != self.version


def _rebind(names: dict[str, Any], before: dict[str, Any]) -> None:
    for name in names.keys() - before.keys():
        del names[name]
    names.update(before)
