"""Which positions of activations are asked for: all, one, some, or one of each prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor

Positions = int | slice | Sequence[int] | Tensor | None

_QUERIES_SECOND = (".hook_pattern", ".hook_attn_scores")  # [batch, head, query, key]


def at_positions(value: Tensor, pos: Positions, axis: int, has_batch_dim: bool) -> Tensor:
    """An activation at some positions.

    Args:
        value: `[(batch,) ..., pos, ...]`.
        pos: None for all; a number, counted from the end if negative, which takes the axis away; a slice; or one number
            a prompt, which takes it away likewise.
        axis: which axis the positions are on.
        has_batch_dim: whether the prompts are on the first one.

    Raises:
        ValueError: a position that isn't there, or another number of positions than prompts.
    """
    if pos is None:
        return value
    if isinstance(pos, slice):
        return value.movedim(axis, 0)[pos].movedim(0, axis)
    length, numbers = value.shape[axis], torch.as_tensor(pos, device=value.device)
    _check(pos, numbers, length, len(value) if has_batch_dim else None)
    if numbers.ndim == 0:
        return value.select(axis, int(numbers))
    return value.movedim(axis, 1)[torch.arange(len(value), device=value.device), numbers]


def position_axis(name: str, has_batch_dim: bool) -> int:
    """Which axis of an activation of this full name is that of its own positions: queries, for a pattern."""
    return int(has_batch_dim) + name.endswith(_QUERIES_SECOND)


def _check(pos: Positions, numbers: Tensor, length: int, batch: int | None) -> None:
    whole = not numbers.is_floating_point() and not numbers.is_complex() and numbers.dtype != torch.bool
    per_prompt = numbers.ndim == 1 and batch is not None and len(numbers) == batch
    if not whole or not (numbers.ndim == 0 or per_prompt):
        prompts = "this cache of one prompt" if batch is None else f"each of the {batch} prompts"
        raise ValueError(f"pos={pos!r}: give a whole number, a slice, or a whole number for {prompts}")
    if numbers.numel() and not -length <= int(numbers.min()) <= int(numbers.max()) < length:
        raise ValueError(
            f"pos={pos!r}: there are positions 0 to {length - 1}, or -1 to {-length} from the end"
        )
