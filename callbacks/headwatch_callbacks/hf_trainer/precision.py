"""The precision in which a `transformers.Trainer` trains, for the passes inside it.

With `bf16=True` or `fp16=True` accelerate replaces the model's forward by one under autocast. Passes call the model's
modules too: they run under the same autocast, with the forward that was replaced, and so as fast as under Lightning.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import get_mixed_precision_context_manager
from torch import nn


@contextmanager
def trainers_precision(model: nn.Module) -> Iterator[None]:
    """The Trainer's autocast around a model that has its own forward inside; as it was afterwards."""
    mixed = AcceleratorState().mixed_precision != "no"
    with _own_forward(model), get_mixed_precision_context_manager(native_amp=mixed):
        yield


@contextmanager
def _own_forward(model: nn.Module) -> Iterator[None]:
    own = vars(model)
    names = ("forward", "_original_forward")
    replaced: dict[str, Any] = {name: own[name] for name in names if name in own}
    original = replaced.get("_original_forward")
    if original is None:
        yield
        return
    for name in replaced:
        del own[name]
    if getattr(original, "__func__", None) is not type(model).forward:
        own["forward"] = original
    try:
        yield
    finally:
        own |= replaced
