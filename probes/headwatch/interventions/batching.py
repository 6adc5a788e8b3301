"""Prompts that run together without padding: of one length up to where the metric is read."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from headwatch.interventions.sites import Site
from headwatch.metrics import Metric
from headwatch.prompts.pairs import PromptPairs

_WORTH_A_SPLIT = 0.05


def same_length_groups(
    pairs: PromptPairs, metrics: Sequence[Metric], first_change: Int[Tensor, " pair"], size: int
) -> Iterator[Int[Tensor, " some"]]:
    """Indices of pairs that are read at the same position and first change at the same one, `size` at most."""
    lengths = read_lengths(pairs, metrics)
    keys = torch.stack([lengths, torch.minimum(first_change, lengths - 1)], dim=1).cpu()
    for key in keys.unique(dim=0):
        yield from (keys == key).all(1).nonzero()[:, 0].split(size)


def read_length(pairs: PromptPairs, metrics: Sequence[Metric]) -> int:
    """How many positions of these prompts matter to some metrics; the same for all of them."""
    return int(read_lengths(pairs, metrics).max())


def read_together(pairs: PromptPairs, metrics: Sequence[Metric]) -> list[tuple[Metric, ...]]:
    """The metrics that one sweep can read: all of the logits, and each activation alone.

    Those of the whole prompt stand apart where some answer is read before the prompt's end.
    """
    at_the_end = bool((pairs.position == pairs.lengths - 1).all())
    groups: dict[str, list[Metric]] = {}
    for metric in metrics:
        kind = "logits" if metric.reads in ("answers", "vocabulary") or at_the_end else "sequence"
        groups.setdefault(kind if metric.activation is None else metric.name, []).append(metric)
    return [tuple(group) for group in groups.values()]


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


def read_lengths(pairs: PromptPairs, metrics: Sequence[Metric]) -> Int[Tensor, " pair"]:
    """How many positions of each prompt matter to some metrics."""
    whole = any(metric.reads == "sequence" for metric in metrics)
    return pairs.lengths if whole else pairs.position + 1
