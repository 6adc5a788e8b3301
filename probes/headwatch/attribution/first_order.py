"""The first-order effect of replacing one site of a layer's heads: pure functions of one layer's activations.

A replaced q, k, v or pattern is followed exactly to the head's z, softmax included, and only from there on
linearly, by the gradient with respect to z. Cost: one more attention product per layer and site.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headwatch.model.attention import attention_pattern, attention_scores

HeadVectors = Float[Tensor, "pair position head d_head"]
Pattern = Float[Tensor, "pair head query key"]
ByPosition = Float[Tensor, "pair head position"]

SITES_OF_HEADS = ("z", "q", "k", "v", "pattern")


@dataclass(frozen=True)
class HeadsOfLayer:
    """One layer's heads in the run that is intervened on, and the metric's gradient there.

    Attributes:
        scaling: what attention scores are multiplied with.
        upcast: whether they are computed in float32 whatever the model runs in.
        q: queries.
        k: keys.
        v: values.
        z: what the heads write.
        gradient: of the metric with respect to z.
        allowed: where each query may look.
    """

    scaling: float
    upcast: bool
    q: HeadVectors
    k: HeadVectors
    v: HeadVectors
    z: HeadVectors
    gradient: HeadVectors
    allowed: Bool[Tensor, "pair 1 position position"]

    def pattern(self, q: HeadVectors, k: HeadVectors) -> Pattern:
        """The attention weights that queries and keys give."""
        return attention_pattern(attention_scores(q, k, self.allowed, self.scaling, self.upcast))


def effect_of_z(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """(z' − z) · ∂metric/∂z at each position (attribution patching; Nanda 2023)."""
    return ((new - heads.z) * heads.gradient).sum(-1).transpose(1, 2)


def effect_of_pattern(heads: HeadsOfLayer, new: Pattern) -> ByPosition:
    """The effect of other attention weights, by query."""
    return effect_of_z(heads, torch.einsum("phqk,pkhd->pqhd", new, heads.v))


def effect_of_queries(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """The effect of other queries, by query: the softmax is exact (AtP*'s Q fix; Kramár et al. 2024)."""
    return effect_of_pattern(heads, heads.pattern(new, heads.k))


def effect_of_values(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """The effect of another value at each position, on all queries that look there."""
    pattern = heads.pattern(heads.q, heads.k)
    to_value = torch.einsum("phqk,pqhd->pkhd", pattern, heads.gradient)
    return ((new - heads.v) * to_value).sum(-1).transpose(1, 2)


def effect_of_all_keys(heads: HeadsOfLayer, new: HeadVectors) -> Float[Tensor, "pair head"]:
    """The effect of replacing the keys of all positions together, the softmax exact."""
    return effect_of_pattern(heads, heads.pattern(heads.q, new)).sum(-1)


def effect_of_single_keys(heads: HeadsOfLayer, new: HeadVectors) -> ByPosition:
    """The effect of another key at each position alone, in O(T²) for all (AtP*'s K fix; Kramár et al. 2024).

    A score that rises by Δ moves its weight from p to p' = σ(logit p + Δ) and scales the query's other weights by
    (1 − p') / (1 − p). In float64, since it divides by what a weight close to 1 leaves to the others.
    """
    q, k, v, z, gradient = (part.double() for part in (heads.q, heads.k, heads.v, heads.z, heads.gradient))
    p = heads.pattern(q, k).double()
    rise = torch.einsum("pqhd,pkhd->phqk", q, new.double() - k) * heads.scaling
    moved = (torch.sigmoid(torch.logit(p) + rise) - p) / (1 - p)
    to_others = torch.einsum("pqhd,pqhd->phq", gradient, z)[..., None]
    gain = torch.einsum("pqhd,pkhd->phqk", gradient, v) - to_others
    # A query that sees only one key gives it weight 1 whatever its score.
    return torch.where(1 - p > 1e-9, moved * gain, 0.0).sum(2).to(heads.z.dtype)


def estimate(
    heads: HeadsOfLayer, site: str, new: Float[Tensor, "..."], by_position: bool
) -> Float[Tensor, "pair head *position"]:
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
        effect = function[site](heads, new.expand_as(heads.z))
    return effect if by_position else effect.sum(-1)
