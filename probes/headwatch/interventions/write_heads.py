"""A hook that gives some heads another q, k, v or z and leaves the others as they are."""

from collections.abc import Sequence

from torch import Tensor

from headwatch.model.hooked_model import HookFunction, HookPoint


def write_heads(heads: Sequence[int], new: Tensor) -> HookFunction:
    """A hook function that writes several heads of one layer.

    Args:
        heads: which.
        new: what they become, broadcastable to `[pair, pos, head, d_head]`.
    """

    def function(value: Tensor, hook: HookPoint) -> Tensor:
        replaced = value.clone()
        replaced[:, :, heads] = new.to(value).expand_as(value)[:, :, heads]
        return replaced

    return function
