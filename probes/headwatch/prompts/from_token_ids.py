"""From tensors of token ids to encoded pairs, with every shape, type and range checked."""

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.prompts.encode import EncodedPair
from headwatch.prompts.jsonl import PromptPair


def from_rows(
    clean_ids: Tensor,
    corrupted_ids: Tensor,
    answer: Tensor,
    foil: Tensor,
    position: int | Tensor | None,
    lengths: Tensor | None,
) -> list[EncodedPair]:
    """Rows of token ids as encoded pairs; see `PromptPairs.from_tokens`.

    Raises:
        ValueError: see `PromptPairs.from_tokens`.
    """
    _check_integers(clean_ids, "clean_ids", None)
    _check_integers(corrupted_ids, "corrupted_ids", tuple(clean_ids.shape))
    n, width = clean_ids.shape
    lengths = torch.full((n,), width) if lengths is None else lengths
    for name, values in (("answer", answer), ("foil", foil), ("lengths", lengths)):
        _check_integers(values, name, (n,))
    if lengths.min() < 1 or lengths.max() > width:
        raise ValueError(f"lengths must be from 1 to the {width} tokens of a row, not {lengths.tolist()}")
    positions = _positions(position, lengths.cpu())
    rows = zip(clean_ids.tolist(), corrupted_ids.tolist(), answer.tolist(), foil.tolist(), strict=True)
    ends = zip(lengths.tolist(), positions.tolist(), strict=True)
    return [
        _encoded_row(index, clean[:length], corrupted[:length], right, wrong, where)
        for index, ((clean, corrupted, right, wrong), (length, where)) in enumerate(
            zip(rows, ends, strict=True)
        )
    ]


def _encoded_row(
    index: int, clean: list[int], corrupted: list[int], answer: int, foil: int, position: int
) -> EncodedPair:
    if min(*clean, *corrupted, answer, foil) < 0:
        raise ValueError(f"pair {index} has a negative token id: give lengths where rows are padded")
    last = len(clean) - 1
    source = PromptPair(
        tuple(clean), tuple(corrupted), answer, foil, position=None if position == last else position
    )
    return EncodedPair(source, f"pair {index}", tuple(clean), tuple(corrupted), (answer,), (foil,), position)


def _positions(position: int | Tensor | None, lengths: Int[Tensor, " pair"]) -> Int[Tensor, " pair"]:
    if position is None:
        return lengths - 1
    if isinstance(position, Tensor):
        _check_integers(position, "position", tuple(lengths.shape) if position.dim() else ())
    positions = torch.as_tensor(position, device="cpu").expand(len(lengths))
    outside = (positions < -lengths) | (positions >= lengths)
    if outside.any():
        pair = int(outside.int().argmax())
        raise ValueError(
            f"position {int(positions[pair])} is outside the {int(lengths[pair])} tokens of pair {pair}"
        )
    return torch.where(positions < 0, positions + lengths, positions)


def _check_integers(values: Tensor, name: str, shape: tuple[int, ...] | None) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must be whole numbers (torch.long), not {values.dtype}")
    if shape is None and (values.dim() != 2 or not values.numel()):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; it must be [pair, position], with no axis empty"
        )
    if shape is not None and tuple(values.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; beside clean_ids it must be {shape}")
