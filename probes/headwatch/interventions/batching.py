"""Prompts that run together without padding: of one length up to where the metric is read."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.interventions.sites import Site
from headwatch.metrics import Metric
from headwatch.prompts.pairs import PromptPairs

_WORTH_A_SPLIT = 0.05


def same_length_groups(
    pairs: PromptPairs, metric: Metric, first_change: Int[Tensor, " pair"], size: int
) -> Iterator[Int[Tensor, " some"]]:
    """Indices of pairs that are read at the same position and first change at the same one, `size` at most."""
    lengths = read_lengths(pairs, metric)
    keys = torch.stack([lengths, torch.minimum(first_change, lengths - 1)], dim=1).cpu()
    for key in keys.unique(dim=0):
        yield from (keys == key).all(1).nonzero()[:, 0].split(size)


def read_length(pairs: PromptPairs, metric: Metric) -> int:
    """How many positions of these prompts matter to a metric; the same for all of them."""
    return int(read_lengths(pairs, metric).max())


def leading_tokens(ids: Int[Tensor, "pair pos"]) -> int:
    """How many leading tokens all prompts share, short of the last one; 0 where they are too few to pay."""
    same = (ids == ids[:1]).all(0)[:-1]
    count = int(same.int().cumprod(0).sum())
    saved = count * (len(ids) - 1) / ids.numel()
    return count if saved >= _WORTH_A_SPLIT else 0


def trim(site: Site, value: Tensor, length: int) -> Tensor:
    """New values up to a length, where they have positions."""
    if value.ndim == 1:
        return value
    return value[:, :, :length, :length] if site.is_pattern else value[:, :length]


def read_lengths(pairs: PromptPairs, metric: Metric) -> Int[Tensor, " pair"]:
    """How many positions of each prompt matter to a metric."""
    return pairs.lengths if metric.reads == "sequence" else pairs.position + 1
