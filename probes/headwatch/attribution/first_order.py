"""The first-order effect of replacing one site of a layer's heads: pure functions of one layer's activations.

A replaced q, k, v or pattern is followed exactly to the head's z, softmax included, and only from there on
linearly, by the gradient with respect to z. Cost: one more attention product per layer and site.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headwatch.model.attention import attention_pattern, for_each_query_head, head_outputs

HeadVectors = Float[Tensor, "pair position head d_head"]
KeyVectors = Float[Tensor, "pair position kv_head d_head"]
Pattern = Float[Tensor, "pair head query key"]
ByPosition = Float[Tensor, "pair head position"]
ByUnitAndPosition = Float[Tensor, "pair kv_head position"]

SITES_OF_HEADS = ("z", "q", "k", "v", "pattern")


@dataclass(frozen=True)
class HeadsOfLayer:
    """One layer's heads in the run that is intervened on, and the metric's gradient there.

    Attributes:
        scores: attention scores of queries and keys, where queries may look as the third argument allows.
        q: queries.
        k: keys, which several heads may share.
        v: values, likewise.
        z: what the heads write.
        gradient: of the metric with respect to z.
        allowed: where each query may look.
    """

    scores: Callable[[Tensor, Tensor, Tensor], Tensor]
    q: HeadVectors
    k: KeyVectors
    v: KeyVectors
    z: HeadVectors
    gradient: HeadVectors
    allowed: Bool[Tensor, "pair 1 position position"]

    def pattern(self, q: HeadVectors, k: KeyVectors) -> Pattern:
        """The attention weights that queries and keys give."""
        return attention_pattern(self.scores(q, k, self.allowed), self.allowed)

    def by_unit(
        self, effect: Float[Tensor, "pair head *position"]
    ) -> Float[Tensor, "pair kv_head *position"]:
        """The effect of what a group of heads shares: the sum of theirs."""
        return effect.unflatten(1, (self.k.shape[2], -1)).sum(2)


def effect_of_z(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """(z' − z) · ∂metric/∂z at each position (attribution patching; Nanda 2023)."""
    return ((new - heads.z) * heads.gradient).sum(-1).transpose(1, 2)


def effect_of_pattern(heads: HeadsOfLayer, new: Pattern) -> ByPosition:
    """The effect of other attention weights, by query."""
    return effect_of_z(heads, head_outputs(new, heads.v))


def effect_of_queries(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """The effect of other queries, by query: the softmax is exact (AtP*'s Q fix; Kramár et al. 2024)."""
    return effect_of_pattern(heads, heads.pattern(new, heads.k))


def effect_of_values(heads: HeadsOfLayer, new: KeyVectors) -> ByUnitAndPosition:
    """The effect of another value at each position, on all queries that look there."""
    pattern = heads.pattern(heads.q, heads.k)
    to_value = heads.by_unit(torch.einsum("phqk,pqhd->phkd", pattern, heads.gradient))
    return ((new - heads.v).transpose(1, 2) * to_value).sum(-1)


def effect_of_all_keys(heads: HeadsOfLayer, new: KeyVectors) -> Float[Tensor, "pair kv_head"]:
    """The effect of replacing the keys of all positions together, the softmax exact."""
    return heads.by_unit(effect_of_pattern(heads, heads.pattern(heads.q, new)).sum(-1))


def effect_of_single_keys(heads: HeadsOfLayer, new: KeyVectors) -> ByUnitAndPosition:
    """The effect of another key at each position alone, in O(T²) for all (AtP*'s K fix; Kramár et al. 2024).

    A score that rises by Δ moves its weight from p to p' = σ(logit p + Δ) and scales the query's other weights by
    (1 − p') / (1 − p). In float64, since it divides by what a weight close to 1 leaves to the others.
    """
    q, k, v, z, gradient = (part.double() for part in (heads.q, heads.k, heads.v, heads.z, heads.gradient))
    p = heads.pattern(q, k).double()
    everywhere = torch.ones_like(heads.allowed)
    rise = (heads.scores(q, new.double(), everywhere) - heads.scores(q, k, everywhere)).double()
    moved = (torch.sigmoid(torch.logit(p) + rise) - p) / (1 - p)
    to_others = torch.einsum("pqhd,pqhd->phq", gradient, z)[..., None]
    gain = torch.einsum("pqhd,pkhd->phqk", gradient, for_each_query_head(v, z.shape[2])) - to_others
    # A query that sees only one key gives it weight 1 whatever its score.
    return heads.by_unit(torch.where(1 - p > 1e-9, moved * gain, 0.0).sum(2)).to(heads.z.dtype)


def estimate(
    heads: HeadsOfLayer, site: str, new: Float[Tensor, "..."], by_position: bool
) -> Float[Tensor, "pair unit *position"]:
    """The first-order effect of replacing a site of each head, `[pair, head]` or `[pair, head, position]`.

    Args:
        heads: the heads of a layer.
        site: `z`, `q`, `k`, `v` or `pattern`.
        new: what is written there: whatever broadcasts to `[pair, position, head, d_head]`, or for a pattern to
            `[pair, head, query, key]`.
        by_position: each position (of a pattern: each query) alone rather than all at once.
    """
    if site == "k" and not by_position:
        return effect_of_all_keys(heads, new.expand_as(heads.k))
    if site == "pattern":
        length = heads.z.shape[1]
        effect = effect_of_pattern(heads, new.expand(len(heads.z), heads.z.shape[2], length, length))
    else:
        function = {
            "z": effect_of_z,
            "q": effect_of_queries,
            "v": effect_of_values,
            "k": effect_of_single_keys,
        }
        effect = function[site](heads, new.expand_as(heads.k if site in ("k", "v") else heads.z))
    return effect if by_position else effect.sum(-1)
