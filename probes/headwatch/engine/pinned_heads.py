"""Heads that stay replaced while interventions travel up through their layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headwatch.cell_names import Head

PinnedIn = Callable[[int, Int[Tensor, " intervention"]], tuple["PinnedHeads", ...]]


@dataclass(frozen=True)
class PinnedHeads:
    """What some heads of one layer are held at, whatever they would compute.

    Attributes:
        name: which of theirs: `q`, `k`, `v` or `z`.
        heads: which heads, `[intervention, head]`; one row stands for all interventions.
        values: what they are held at, broadcastable to `[intervention, pair, pos, head, d_head]`.
    """

    name: str
    heads: Bool[Tensor, "intervention head"]
    values: Tensor

    def written_to(
        self, value: Float[Tensor, "intervention pair pos head d_head"], first: int
    ) -> Float[Tensor, "intervention pair pos head d_head"]:
        """The value with these heads replaced, where it stands at the positions from `first` on."""
        new = self.values.to(value)
        if new.ndim > 3 and new.shape[-3] > 1:
            new = new.narrow(-3, first, value.shape[2])
        return torch.where(self.heads[:, None, None, :, None], new, value)


def pin(
    pinned: Sequence[PinnedHeads],
    name: str,
    value: Float[Tensor, "intervention pair pos head d_head"],
    first: int,
) -> Float[Tensor, "intervention pair pos head d_head"]:
    """A value with the heads replaced that are pinned to another one."""
    for one in pinned:
        value = one.written_to(value, first) if one.name == name else value
    return value


def nothing_pinned(layer: int, index: Tensor) -> tuple[PinnedHeads, ...]:
    """No head is pinned."""
    return ()


def pinned_by_set(
    sets: Sequence[Sequence[Head]], new: Callable[[int], Tensor], n_heads: int, device: torch.device
) -> PinnedIn:
    """Each intervention pins one set of heads to its new z.

    Args:
        sets: the heads by intervention, as (layer, head); a single set stands for all interventions.
        new: the values of z in a layer.
        n_heads: the heads of a layer.
        device: where the streams are.

    Returns:
        What the interventions of some index pin in a layer.
    """
    layers = {layer for heads in sets for layer, _ in heads}
    masks = {layer: torch.zeros(len(sets), n_heads, dtype=torch.bool) for layer in layers}
    for number, heads in enumerate(sets):
        for layer, head in heads:
            masks[layer][number, head] = True

    def pinned(layer: int, index: Tensor) -> tuple[PinnedHeads, ...]:
        if layer not in layers:
            return ()
        mask = masks[layer] if len(sets) == 1 else masks[layer][index.cpu()]
        return (PinnedHeads("z", mask.to(device), new(layer)),) if mask.any() else ()

    return pinned
