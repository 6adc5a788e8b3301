"""Where each named activation lives in a Hugging Face GPT-2: the only file that knows its layout.

Everything goes through calls of the user's own modules, so that LoRA adapters, tied weights and forward hooks
keep their effect. Reading costs nothing beyond the model's own forward, except for `attn_scores` and
`pattern` (one more product of queries and keys, whatever attention implementation runs) and `result`
(one output projection per head).
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Attention, GPT2Block

from headwatch.model.activation_names import ActName, parse
from headwatch.model.attention import attention_pattern, attention_scores
from headwatch.model.fast_linear import is_plain, project, project_gelu, project_onto, project_some
from headwatch.model.torch_hooks import Points, has_no_hooks, layer_norm, per_head_output

Module = TypeVar("Module", bound=nn.Module)
# The same function, written out by one and fused by the other.
_TANH_GELU = (NewGELUActivation, GELUTanh)


@dataclass(frozen=True)
class GPT2Layout:
    """The sizes of a GPT-2."""

    n_layers: int
    n_heads: int
    d_head: int
    d_model: int
    d_mlp: int
    n_positions: int
    d_vocab: int


def layout(model: GPT2LMHeadModel) -> GPT2Layout:
    """The sizes of a model."""
    config = model.config
    return GPT2Layout(
        n_layers=config.n_layer,
        n_heads=config.n_head,
        d_head=config.n_embd // config.n_head,
        d_model=config.n_embd,
        d_mlp=config.n_inner if config.n_inner is not None else 4 * config.n_embd,
        n_positions=config.n_positions,
        d_vocab=config.vocab_size,
    )


def check_name(full: str, sizes: GPT2Layout) -> str:
    """The full name of an activation that a GPT-2 of these sizes has.

    Raises:
        ValueError: it has none of this name.
    """
    name = parse(full)
    if name.layer is not None and name.layer >= sizes.n_layers:
        raise ValueError(f"{full}: the model has layers 0 to {sizes.n_layers - 1}")
    if name.name == "mid":
        raise ValueError(f"{full}: a GPT-2's MLP has no 'mid'; use 'pre' or 'post'")
    return full


def attentions(model: GPT2LMHeadModel) -> list[GPT2Attention]:
    """The self-attention module of each layer."""
    return [_inside(block.attn, GPT2Attention) for block in blocks(model)]


def blocks(model: GPT2LMHeadModel) -> list[GPT2Block]:
    """The blocks, layer by layer."""
    return list(cast(Iterable[GPT2Block], model.transformer.h))


def _inside(module: nn.Module, kind: type[Module]) -> Module:
    """The one module of a kind: the module itself, or what a wrapper holds.

    Raises:
        ValueError: none there, or several.
    """
    found = [m for m in module.modules() if isinstance(m, kind)]
    if len(found) != 1:
        raise ValueError(
            f"{type(module).__name__} stands where a GPT-2 has a {kind.__name__} and holds {len(found)} of them, "
            "not 1: headwatch can't tell its heads and neurons"
        )
    return found[0]


def output_projection(model: GPT2LMHeadModel, layer: int) -> nn.Module:
    """The module whose input is a layer's z, `[batch, position, head * d_head]`, and whose output it adds."""
    return cast(nn.Module, attentions(model)[layer].c_proj)


def logits(
    model: GPT2LMHeadModel, ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
) -> Float[Tensor, "batch pos vocab"]:
    """The model's logits by its own forward; padding may stand on either side."""
    if attention_mask is None:
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    else:
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=attention_mask, position_ids=positions, use_cache=False)
    return out.logits


def head_values(
    model: GPT2LMHeadModel, layer: int, stream: Float[Tensor, "*n d_model"]
) -> Float[Tensor, "*n head d_head"]:
    """What each head of a layer reads as its value at points of the residual stream, before attention weighs it."""
    attention = attentions(model)[layer]
    _, _, value = attention.c_attn(blocks(model)[layer].ln_1(stream)).chunk(3, dim=-1)
    return value.unflatten(-1, (attention.num_heads, -1))


def unembedding_directions(model: GPT2LMHeadModel, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d_model"]:
    """For each token, the direction of the final normalized stream that raises its logit: W_U times the gain."""
    head = model.lm_head
    if type(head) is nn.Linear:
        rows = head.weight[tokens]
    else:  # a wrapped unembedding (LoRA) has no single weight: ask it for its columns
        rows = head(torch.eye(model.config.n_embd, device=tokens.device)).T[tokens]
    return rows * layer_norm(model.transformer.ln_f).weight


def unembed(model: GPT2LMHeadModel, stream: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n vocab"]:
    """Logits of a point of the residual stream: the final norm, then the unembedding."""
    return model.lm_head(model.transformer.ln_f(stream))


@dataclass(frozen=True)
class GPT2Parts:
    """The pieces of a forward pass, as calls of the user's own modules: all that the sweep engine knows of a GPT-2.

    A stream may have any leading axes, `[..., d_model]`; q, k, v and z are `[..., head, d_head]`. Where a module is
    exactly Hugging Face's and has no hooks, a slice of its product or a fused activation stands in for the call.
    """

    model: GPT2LMHeadModel
    sizes: GPT2Layout

    @cached_property
    def blocks(self) -> list[GPT2Block]:
        """The blocks, layer by layer."""
        return blocks(self.model)

    def scaling(self, layer: int) -> float:
        """What attention scores are multiplied with."""
        return self.blocks[layer].attn.scaling

    def embed(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The stream before the first layer."""
        transformer = self.model.transformer
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return transformer.drop(transformer.wte(ids) + transformer.wpe(positions))

    def qkv(self, layer: int, stream: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values."""
        block = self.blocks[layer]
        return self._by_head(project(block.attn.c_attn, block.ln_1(stream)), 3)

    def queries(self, layer: int, stream: Tensor) -> Tensor:
        """Queries alone."""
        return self._some_of_qkv(layer, stream, 0, 1)[0]

    def keys_values(self, layer: int, stream: Tensor) -> tuple[Tensor, ...]:
        """Keys and values alone."""
        return self._some_of_qkv(layer, stream, 1, 3)

    def after_attention(self, layer: int, stream: Tensor, z: Tensor) -> Tensor:
        """The stream and what attention adds to it."""
        return project_onto(stream, self.blocks[layer].attn.c_proj, z.flatten(-2))

    def write_heads(self, layer: int, z: Tensor, heads: tuple[int, ...] | None = None) -> Tensor:
        """What each head alone adds to the stream, without the bias: `[head, ..., d_model]`.

        Args:
            layer: the layer.
            z: `[..., head, d_head]`, of these heads.
            heads: which heads these are; None for all.
        """
        chosen = list(range(self.sizes.n_heads) if heads is None else heads)
        projection = self.blocks[layer].attn.c_proj
        by_head = z.movedim(-2, 0)
        if is_plain(projection):
            weight = projection.weight.view(self.sizes.n_heads, self.sizes.d_head, -1)[chosen]
            return torch.bmm(by_head.flatten(1, -2), weight).view(*by_head.shape[:-1], -1)
        alone = by_head.new_zeros(len(chosen), *z.shape[:-2], self.sizes.n_heads, self.sizes.d_head)
        for row, head in enumerate(chosen):
            alone[row, ..., head, :] = by_head[row]
        return projection(alone.flatten(-2)) - projection(torch.zeros_like(alone[0].flatten(-2)))

    def mlp(self, layer: int, stream: Tensor) -> Tensor:
        """What the MLP adds to the stream."""
        block = self.blocks[layer]
        if self._has_tanh_gelu(block.mlp):
            return block.mlp.c_proj(project_gelu(block.mlp.c_fc, block.ln_2(stream)))
        return block.mlp(block.ln_2(stream))

    def after_mlp(self, layer: int, stream: Tensor) -> Tensor:
        """The stream and what the MLP adds to it."""
        block = self.blocks[layer]
        if self._has_tanh_gelu(block.mlp):
            return project_onto(stream, block.mlp.c_proj, project_gelu(block.mlp.c_fc, block.ln_2(stream)))
        return stream + block.mlp(block.ln_2(stream))

    def knows_neurons(self) -> bool:
        """Whether every MLP is GPT-2's own, so that its neurons are known."""
        return all(type(block.mlp) is GPT2MLP for block in self.blocks)

    def _has_tanh_gelu(self, mlp: nn.Module) -> bool:
        return type(mlp) is GPT2MLP and isinstance(mlp.act, _TANH_GELU) and has_no_hooks(mlp)

    def neurons(self, layer: int, stream: Tensor) -> tuple[Tensor, Tensor]:
        """The MLP's neurons before and after the activation function, `[..., d_mlp]`."""
        block = self.blocks[layer]
        pre = block.mlp.c_fc(block.ln_2(stream))
        return pre, self.activate(layer, pre)

    def activate(self, layer: int, pre: Tensor) -> Tensor:
        """The activation function of a layer's neurons."""
        return self.blocks[layer].mlp.act(pre)

    def write_neurons(self, layer: int, post: Tensor, neurons: tuple[int, ...]) -> Tensor:
        """What each neuron alone adds to the stream, `[neuron, ..., d_model]`, from its values `[..., neuron]`."""
        projection, chosen = self.blocks[layer].mlp.c_proj, list(neurons)
        by_neuron = post.movedim(-1, 0).unsqueeze(-1)
        if is_plain(projection):
            weight = projection.weight[chosen]
            return by_neuron * weight.view(len(chosen), *[1] * (post.ndim - 1), -1)
        alone = post.new_zeros(len(chosen), *post.shape[:-1], self.sizes.d_mlp)
        for row, neuron in enumerate(chosen):
            alone[row, ..., neuron] = post[..., row]
        return projection(alone) - projection(torch.zeros_like(alone[0]))

    def logits(self, stream: Tensor) -> Tensor:
        """All logits, `[..., vocab]`; in the stream's precision under autocast too, since effects are differences."""
        same = next(self.model.lm_head.parameters()).dtype == stream.dtype
        with torch.autocast(stream.device.type, enabled=False) if same else nullcontext():
            return unembed(self.model, stream)

    def some_logits(self, stream: Float[Tensor, "*n pair d_model"], tokens: Int[Tensor, "pair k"]) -> Tensor:
        """The logits of a few tokens per pair, `[..., pair, k]`."""
        head = self.model.lm_head
        if type(head) is nn.Linear and has_no_hooks(head) and head.bias is None:
            with torch.autocast(stream.device.type, enabled=False):
                return torch.einsum(
                    "...pd,pkd->...pk", self.model.transformer.ln_f(stream), head.weight[tokens]
                )
        logits = self.logits(stream)
        return logits.gather(-1, tokens.expand(*logits.shape[:-1], -1))

    def _some_of_qkv(self, layer: int, stream: Tensor, start: int, end: int) -> tuple[Tensor, ...]:
        block, size = self.blocks[layer], self.sizes.d_model
        columns = slice(start * size, end * size)
        return self._by_head(project_some(block.attn.c_attn, block.ln_1(stream), columns), end - start)

    def _by_head(self, joint: Tensor, count: int) -> tuple[Tensor, ...]:
        return tuple(part.unflatten(-1, (self.sizes.n_heads, -1)) for part in joint.chunk(count, dim=-1))


def install(points: Points, model: GPT2LMHeadModel) -> None:
    """Put the hooks that fire the wanted activations on a model's modules."""
    transformer = model.transformer
    points.on_output(transformer.wte, "hook_embed")
    points.on_output(transformer.wpe, "hook_pos_embed")
    for layer, block in enumerate(blocks(model)):
        _BlockPoints(points, layer, block).install()
    points.on_norm(transformer.ln_f, "ln_final.hook_scale", "ln_final.hook_normalized")


@dataclass
class _BlockPoints:
    """The hook points of one block, and what one forward through it must remember between them."""

    points: Points
    layer: int
    block: GPT2Block
    q: Tensor | None = None
    k: Tensor | None = None
    v: Tensor | None = None
    mid: Tensor | None = None
    mlp_out: Tensor | None = None
    attn_output: Tensor | None = None

    @cached_property
    def attention(self) -> GPT2Attention:
        return _inside(self.block.attn, GPT2Attention)

    def name(self, short: str, layer_type: str = "") -> str:
        return ActName(short, self.layer, layer_type).full

    def wants(self, *shorts: str, layer_type: str = "") -> bool:
        return any(self.name(short, layer_type) in self.points.wanted for short in shorts)

    def fire(self, short: str, value: Tensor, layer_type: str = "") -> Tensor | None:
        return self.points.fire_if_wanted(self.name(short, layer_type), value)

    def install(self) -> None:
        block, points = self.block, self.points
        if self.wants("resid_pre"):
            points.before(block, lambda value: self.fire("resid_pre", value))
        points.on_norm(block.ln_1, self.name("scale", "ln1"), self.name("normalized", "ln1"))
        self._install_attention()
        if self.wants("resid_mid"):
            points.before(block.ln_2, self._resid_mid)
        points.on_norm(block.ln_2, self.name("scale", "ln2"), self.name("normalized", "ln2"))
        if self.wants("pre", "post", layer_type="mlp"):
            mlp = _inside(block.mlp, GPT2MLP)
            points.on_output(mlp.c_fc, self.name("pre", "mlp"))
            points.before(mlp.c_proj, lambda value: self.fire("post", value, "mlp"))
        points.on_output(block.mlp, self.name("mlp_out"))
        if self.wants("resid_mid"):
            points.after(block.mlp, self._remember_mlp)
        if self.wants("resid_mid", "resid_post"):
            points.after(block, self._resid_post)

    def _install_attention(self) -> None:
        if self.wants("q", "k", "v", "attn_scores", "pattern", layer_type="attn"):
            self.points.after(self.attention.c_attn, self._qkv)
        if self.wants("z", "attn_scores", "pattern", "result", layer_type="attn"):
            self.points.before(self.attention.c_proj, self._z)
        if self.wants("result", layer_type="attn"):
            self.points.after(self.attention.c_proj, self._projected)
        if self.wants("attn_out"):
            self.points.after(self.block.attn, self._attn_out)

    def _qkv(self, _: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
        heads = self.attention.num_heads
        parts = [part.unflatten(-1, (heads, -1)) for part in output.chunk(3, dim=-1)]
        fired = [self.fire(name, part, "attn") for name, part in zip("qkv", parts, strict=True)]
        self.q, self.k, self.v = (p if f is None else f for p, f in zip(parts, fired, strict=True))
        if all(f is None for f in fired):
            return None
        return torch.cat([part.flatten(-2) for part in (self.q, self.k, self.v)], dim=-1)

    def _z(self, value: Tensor) -> Tensor | None:
        z = value.unflatten(-1, (self.attention.num_heads, -1))
        through_pattern = self._pattern() if self.wants("attn_scores", "pattern", layer_type="attn") else None
        z = z if through_pattern is None else through_pattern.to(z.dtype)
        fired = self.fire("z", z, "attn")
        z = z if fired is None else fired
        if self.wants("result", layer_type="attn"):
            result, bias = per_head_output(self.attention.c_proj, z)
            replaced = self.fire("result", result, "attn")
            self.attn_output = None if replaced is None else replaced.sum(2) + bias
        return None if through_pattern is None and fired is None else z.flatten(-2)

    def _pattern(self) -> Tensor | None:
        assert self.q is not None
        assert self.k is not None
        assert self.v is not None
        attention = self.attention
        upcast, allowed = attention.reorder_and_upcast_attn, self.points.allowed
        scores = attention_scores(self.q, self.k, allowed, attention.scaling, upcast)
        new_scores = self.fire("attn_scores", scores, "attn")
        pattern = attention_pattern(scores if new_scores is None else new_scores).to(self.v.dtype)
        new_pattern = self.fire("pattern", pattern, "attn")
        if new_scores is None and new_pattern is None:
            return None
        pattern = attention.attn_dropout(pattern if new_pattern is None else new_pattern)
        return (pattern @ self.v.transpose(1, 2)).transpose(1, 2)

    def _projected(self, _: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
        replaced, self.attn_output = self.attn_output, None
        return replaced

    def _attn_out(
        self, _: nn.Module, args: tuple[Any, ...], output: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        replaced = self.fire("attn_out", output[0])
        return None if replaced is None else (replaced, *output[1:])

    def _resid_mid(self, value: Tensor) -> Tensor | None:
        self.mid = self.fire("resid_mid", value)
        return self.mid

    def _remember_mlp(self, _: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self.mlp_out = output

    def _resid_post(self, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        rebuilt = None
        if self.mid is not None:
            # ln_2 saw the replaced stream, but the block added its MLP to the old one.
            assert self.mlp_out is not None
            rebuilt = self.mid + self.mlp_out
        fired = self.fire("resid_post", output if rebuilt is None else rebuilt)
        return rebuilt if fired is None else fired
