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
    k: Float[Tensor, "batch key head d_head"],
    allowed: Bool[Tensor, "batch #head query key"],
    scaling: float,
    upcast: bool = False,
) -> Float[Tensor, "batch head query key"]:
    """Scaled attention scores, −inf where a query may not look; `upcast` computes them in float32."""
    if upcast:
        q, k = q.float(), k.float()
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * scaling
    return scores.masked_fill(~allowed, -torch.inf)


def attention_pattern(scores: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
    """Softmax over keys; a query that may look nowhere (left padding) gets zeros."""
    return scores.softmax(-1).nan_to_num(0.0)


def attend(
    q: Float[Tensor, "row query head d_head"],
    k: Float[Tensor, "row key head d_head"],
    v: Float[Tensor, "row key head d_head"],
    scaling: float,
    first: int,
) -> Float[Tensor, "row query head d_head"]:
    """Causal attention of queries at the positions from `first` on over keys at the positions from 0 on."""
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
    )
    return out.transpose(1, 2)
