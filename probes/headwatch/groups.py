"""Prompts that run together without padding: of one length up to where the metric is read."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.interventions import Site
from headwatch.metrics import Metric
from headwatch.pairs import PromptPairs


def same_length_groups(
    pairs: PromptPairs, metric: Metric, first_change: Int[Tensor, " pair"], size: int
) -> Iterator[Int[Tensor, " some"]]:
    """Indices of pairs that are read at the same position and first change at the same one, `size` at most."""
    lengths = _read_lengths(pairs, metric)
    keys = torch.stack([lengths, torch.minimum(first_change, lengths - 1)], dim=1).cpu()
    for key in keys.unique(dim=0):
        yield from (keys == key).all(1).nonzero()[:, 0].split(size)


def read_length(pairs: PromptPairs, metric: Metric) -> int:
    """How many positions of these prompts matter to a metric; the same for all of them."""
    return int(_read_lengths(pairs, metric).max())


def trim(site: Site, value: Tensor, length: int) -> Tensor:
    """New values up to a length, where they have positions."""
    if value.ndim == 1:
        return value
    return value[:, :, :length, :length] if site.is_pattern else value[:, :length]


def _read_lengths(pairs: PromptPairs, metric: Metric) -> Int[Tensor, " pair"]:
    return pairs.lengths if metric.reads == "sequence" else pairs.position + 1
