"""Attention as arithmetic on tensors: where a query may look, and what it makes of its scores."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def causal_mask(
    ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
) -> Bool[Tensor, "batch 1 pos pos"]:
    """Where a query may look: at real tokens, not after itself."""
    length = ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    allowed = causal.expand(len(ids), 1, length, length)
    return allowed if attention_mask is None else allowed & attention_mask[:, None, None].bool()


def attention_scores(
    q: Float[Tensor, "batch query head d_head"],
    k: Float[Tensor, "batch key kv_head d_head"],
    allowed: Bool[Tensor, "batch #head query key"],
    scaling: float,
    upcast: bool = False,
) -> Float[Tensor, "batch head query key"]:
    """Scaled attention scores, −inf where a query may not look; `upcast` computes them in float32.

    A head of keys serves the queries of a group of heads, where there are fewer of them.
    """
    if upcast:
        q, k = q.float(), k.float()
    k = for_each_query_head(k, q.shape[2])
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * scaling
    return scores.masked_fill(~allowed, -torch.inf)


def attention_pattern(
    scores: Float[Tensor, "batch head query key"],
    allowed: Bool[Tensor, "batch #head query key"] | None = None,
) -> Float[Tensor, "batch head query key"]:
    """Softmax over keys; 0 where a query may not look, so that one that may look nowhere (left padding) gets zeros.

    Scores that are no numbers make weights that are none: those of a model that has diverged.

    Args:
        scores: attention scores.
        allowed: where a query may look; by default where its score is not −inf.
    """
    allowed = scores != -torch.inf if allowed is None else allowed
    return scores.softmax(-1).masked_fill(~allowed, 0.0)


def attend(
    q: Float[Tensor, "row query head d_head"],
    k: Float[Tensor, "row key kv_head d_head"],
    v: Float[Tensor, "row key kv_head d_head"],
    scaling: float,
    first: int,
) -> Float[Tensor, "row query head d_head"]:
    """Causal attention of queries at the positions from `first` on over keys at the positions from 0 on.

    A head of keys and values serves the queries of a group of heads, where there are fewer of them.
    """
    queries, keys = q.shape[1], k.shape[1]
    mask, whole = None, first == 0 and queries == keys
    if not whole and first + 1 < keys:
        position = torch.arange(keys, device=q.device)
        mask = position <= position[first : first + queries, None]
    out = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        is_causal=whole,
        scale=scaling,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)


def head_outputs(
    pattern: Float[Tensor, "batch head query key"], v: Float[Tensor, "batch key kv_head d_head"]
) -> Float[Tensor, "batch query head d_head"]:
    """z: the values that each head reads, weighed by its pattern."""
    v = for_each_query_head(v, pattern.shape[1])
    return (pattern @ v.transpose(1, 2)).transpose(1, 2)


def for_each_query_head(
    value: Float[Tensor, "batch key kv_head d_head"], n_heads: int
) -> Float[Tensor, "batch key head d_head"]:
    """Keys or values with each head repeated for its group of query heads."""
    group = n_heads // value.shape[2]
    return value if group == 1 else value.repeat_interleave(group, dim=2)
