"""GPT-2 written out from its weights: no module is called, every activation has a name, any can be replaced."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel
from transformers.activations import ACT2FN

Edit = Callable[[str, Tensor], Tensor]


def forward(
    model: GPT2LMHeadModel,
    ids: Tensor,
    attention_mask: Tensor | None = None,
    edit: Edit = lambda name, value: value,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and every activation by its full name; `edit` may replace each as it is made."""
    weights, config = dict(model.state_dict()), model.config
    activations: dict[str, Tensor] = {}

    def point(name: str, value: Tensor) -> Tensor:
        activations[name] = edit(name, value)
        return activations[name]

    def norm(name: str, weight: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = point(
            f"{name}.hook_scale", (centred.pow(2).mean(-1, keepdim=True) + config.layer_norm_epsilon).sqrt()
        )
        normalized = point(f"{name}.hook_normalized", centred / scale)
        return normalized * weights[f"{weight}.weight"] + weights[f"{weight}.bias"]

    batch, length = ids.shape
    mask = torch.ones_like(ids) if attention_mask is None else attention_mask
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    heads, d_head = config.n_head, config.n_embd // config.n_head
    look = torch.tril(torch.ones(length, length)).bool()[None, None] & mask.bool()[:, None, None, :]
    x = point("hook_embed", weights["transformer.wte.weight"][ids])
    x = x + point("hook_pos_embed", weights["transformer.wpe.weight"][positions])
    for layer in range(config.n_layer):
        p, block = f"transformer.h.{layer}.", f"blocks.{layer}."
        x = point(block + "hook_resid_pre", x)
        h = norm(block + "ln1", p + "ln_1", x)
        qkv = h @ weights[p + "attn.c_attn.weight"] + weights[p + "attn.c_attn.bias"]
        q, k, v = (
            point(f"{block}attn.hook_{name}", part.reshape(batch, length, heads, d_head))
            for name, part in zip("qkv", qkv.split(config.n_embd, -1), strict=True)
        )
        scale = d_head**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
        scores = point(block + "attn.hook_attn_scores", torch.where(look, scores, -torch.inf))
        pattern = point(block + "attn.hook_pattern", torch.softmax(scores, -1).nan_to_num(0))
        z = point(block + "attn.hook_z", torch.einsum("bhqk,bkhd->bqhd", pattern, v))
        projection = weights[p + "attn.c_proj.weight"].reshape(heads, d_head, config.n_embd)
        result = point(block + "attn.hook_result", torch.einsum("bqhd,hdm->bqhm", z, projection))
        attn_out = point(block + "hook_attn_out", result.sum(2) + weights[p + "attn.c_proj.bias"])
        x = point(block + "hook_resid_mid", x + attn_out)
        h = norm(block + "ln2", p + "ln_2", x)
        pre = point(block + "mlp.hook_pre", h @ weights[p + "mlp.c_fc.weight"] + weights[p + "mlp.c_fc.bias"])
        post = point(block + "mlp.hook_post", ACT2FN[config.activation_function](pre))
        out = post @ weights[p + "mlp.c_proj.weight"] + weights[p + "mlp.c_proj.bias"]
        x = point(block + "hook_resid_post", x + point(block + "hook_mlp_out", out))
    final = norm("ln_final", "transformer.ln_f", x)
    return final @ weights["lm_head.weight"].T, activations
