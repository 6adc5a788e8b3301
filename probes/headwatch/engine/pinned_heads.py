"""Heads that stay replaced while interventions travel up through their layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Head = tuple[int, int]
HeldIn = Callable[[int, Int[Tensor, " row"]], tuple["Held", ...]]


@dataclass(frozen=True)
class Held:
    """What some heads of one layer hold, whatever they would compute.

    Attributes:
        name: which of theirs: `q`, `k`, `v` or `z`.
        heads: which heads, row by row, `[row, head]`; one row stands for all.
        values: what they hold, broadcastable to `[row, pair, pos, head, d_head]`.
    """

    name: str
    heads: Bool[Tensor, "row head"]
    values: Tensor

    def written_to(
        self, value: Float[Tensor, "row pair pos head d_head"], first: int
    ) -> Float[Tensor, "row pair pos head d_head"]:
        """The value with these heads replaced, where it stands at the positions from `first` on."""
        new = self.values.to(value)
        if new.ndim > 3 and new.shape[-3] > 1:
            new = new.narrow(-3, first, value.shape[2])
        return torch.where(self.heads[:, None, None, :, None], new, value)


def hold(
    held: Sequence[Held], name: str, value: Float[Tensor, "row pair pos head d_head"], first: int
) -> Float[Tensor, "row pair pos head d_head"]:
    """A value with the heads replaced that hold another one."""
    for one in held:
        value = one.written_to(value, first) if one.name == name else value
    return value


def nothing_held(layer: int, index: Tensor) -> tuple[Held, ...]:
    """No head is held."""
    return ()


def holding(
    sets: Sequence[Sequence[Head]], new: Callable[[int], Tensor], n_heads: int, device: torch.device
) -> HeldIn:
    """Each row holds the new z of one set of heads.

    Args:
        sets: the heads by intervention, as (layer, head); a single set stands for all interventions.
        new: the values of z in a layer.
        n_heads: the heads of a layer.
        device: where the rows are.

    Returns:
        What the interventions of some index hold in a layer.
    """
    layers = {layer for heads in sets for layer, _ in heads}
    masks = {layer: torch.zeros(len(sets), n_heads, dtype=torch.bool) for layer in layers}
    for number, heads in enumerate(sets):
        for layer, head in heads:
            masks[layer][number, head] = True

    def held(layer: int, index: Tensor) -> tuple[Held, ...]:
        if layer not in layers:
            return ()
        mask = masks[layer] if len(sets) == 1 else masks[layer][index.cpu()]
        return (Held("z", mask.to(device), new(layer)),) if mask.any() else ()

    return held
