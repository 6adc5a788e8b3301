"""A sweep's pairs shared out, so that several processes answer for some of them each."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.effects import Effects
from headwatch.prompts.pairs import PromptPairs

Rows = Int[Tensor, " some"]


def shares(pairs: PromptPairs, n_shares: int) -> list[Rows]:
    """The pairs in so many shares, or one a pair where there are fewer; prompts of each length dealt out evenly."""
    order = pairs.lengths.cpu().argsort(stable=True)
    return [order[first::n_shares].sort().values for first in range(min(n_shares, len(pairs)))]


def join_pairs(parts: Sequence[Effects], rows: Sequence[Rows]) -> Effects:
    """The effects on all pairs from those on each share of them; `seconds` are those of the slowest."""
    order = torch.cat(list(rows)).argsort()

    def whole(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)[order]

    joined: dict[str, Any] = {name: whole(name) for name in ("per_pair", "clean", "corrupted", "given")}
    return replace(parts[0], seconds=max(part.seconds for part in parts), **joined)
