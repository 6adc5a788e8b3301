"""Hugging Face's GPT-2: the only file that knows its modules.

Reading costs nothing beyond the model's own forward, except for `attn_scores` and `pattern` (one more product of
queries and keys, whatever attention implementation runs) and `result` (one output projection per head).
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Attention, GPT2Block

from headwatch.model.activation_names import ActName, all_names
from headwatch.model.architecture import Architecture, HeadVectors, Sizes, Stream
from headwatch.model.attention import attention_pattern, attention_scores, head_outputs
from headwatch.model.fast_linear import project, project_gelu, project_onto, project_some
from headwatch.model.torch_hooks import (
    ForwardHooks,
    has_no_hooks,
    layer_norm,
    layer_norm_parameters,
    per_head_output,
)

Module = TypeVar("Module", bound=nn.Module)
# The same function, written out by one and fused by the other.
_TANH_GELU = (NewGELUActivation, GELUTanh)


@dataclass(frozen=True, eq=False, repr=False)
class GPT2(Architecture):
    """A `GPT2LMHeadModel`.

    Where a module is exactly Hugging Face's and has no hooks, a slice of its product or a fused activation stands in
    for the call.
    """

    model: GPT2LMHeadModel

    class_name = "GPT2LMHeadModel"

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Whether it is Hugging Face's GPT-2 with its LM head."""
        return isinstance(module, GPT2LMHeadModel)

    @cached_property
    def sizes(self) -> Sizes:
        """The sizes that its configuration names."""
        config = self.model.config
        return Sizes(
            n_layers=config.n_layer,
            n_heads=config.n_head,
            n_kv_heads=config.n_head,
            d_head=config.n_embd // config.n_head,
            d_model=config.n_embd,
            d_mlp=config.n_inner if config.n_inner is not None else 4 * config.n_embd,
            n_positions=config.n_positions,
            d_vocab=config.vocab_size,
        )

    @cached_property
    def blocks(self) -> list[GPT2Block]:
        """The blocks, layer by layer."""
        return list(cast(Iterable[GPT2Block], self.model.transformer.h))

    def attention(self, layer: int) -> GPT2Attention:
        """A layer's attention, which a wrapper may hold."""
        return _inside(self.blocks[layer].attn, GPT2Attention)

    def forward(
        self, ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch pos vocab"]:
        """The logits, with the position ids that left padding needs."""
        return self._logits(ids, attention_mask)

    def forward_at(
        self, ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None, position: int
    ) -> Float[Tensor, "batch 1 vocab"]:
        """The logits at one position; where the forward is the library's own, no others are worked out."""
        if not self._forward_is_known:
            return super().forward_at(ids, attention_mask, position)
        return self._logits(ids, attention_mask, logits_to_keep=torch.tensor([position], device=ids.device))

    def _logits(self, ids: Tensor, attention_mask: Tensor | None, **options: Tensor) -> Tensor:
        if attention_mask is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        else:
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        out = self.model(
            input_ids=ids, attention_mask=attention_mask, position_ids=positions, use_cache=False, **options
        )
        return out.logits

    @property
    def _forward_is_known(self) -> bool:
        """Whether the model's forward is that of its class in transformers, and keeps logits if asked to."""
        own = type(self.model).forward is GPT2LMHeadModel.forward and "forward" not in vars(self.model)
        return own and "logits_to_keep" in inspect.signature(GPT2LMHeadModel.forward).parameters

    def install(self, hooks: ForwardHooks) -> None:
        """Put the hooks that fire the wanted activations on the model's modules."""
        transformer = self.model.transformer
        hooks.on_output(transformer.wte, "hook_embed")
        hooks.on_output(transformer.wpe, "hook_pos_embed")
        for layer, block in enumerate(self.blocks):
            _BlockHooks(hooks, layer, block).install()
        hooks.on_norm(
            transformer.ln_f, layer_norm_parameters, "ln_final.hook_scale", "ln_final.hook_normalized"
        )

    def activation_names(self) -> list[str]:
        """Every name but `mid`, which no GPT-2's MLP has."""
        return all_names(self.sizes.n_layers)

    @property
    def takes_mask(self) -> nn.Module:
        """The transformer without its LM head."""
        return self.model.base_model

    def embed(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Token and position embeddings together."""
        transformer = self.model.transformer
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return transformer.drop(transformer.wte(ids) + transformer.wpe(positions))

    def token_embeddings(self, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d_model"]:
        """Rows of the token embedding."""
        return self.model.get_input_embeddings()(tokens)

    def qkv(self, layer: int, stream: Stream) -> tuple[HeadVectors, HeadVectors, HeadVectors]:
        """One product for all three."""
        block = self.blocks[layer]
        q, k, v = self._by_head(project(block.attn.c_attn, block.ln_1(stream)), 3)
        return q, k, v

    def queries(self, layer: int, stream: Stream) -> HeadVectors:
        """The first third of that product."""
        return self._some_of_qkv(layer, stream, 0, 1)[0]

    def keys_values(self, layer: int, stream: Stream) -> tuple[HeadVectors, HeadVectors]:
        """The other two thirds."""
        k, v = self._some_of_qkv(layer, stream, 1, 3)
        return k, v

    def output_projection(self, layer: int) -> nn.Module:
        """`c_proj` of the attention."""
        return cast(nn.Module, self.attention(layer).c_proj)

    def after_attention(self, layer: int, stream: Stream, z: HeadVectors) -> Stream:
        """One product, added to the stream before it leaves the cache."""
        return project_onto(stream, self.blocks[layer].attn.c_proj, z.flatten(-2))

    def mlp(self, layer: int, stream: Stream) -> Stream:
        """What the MLP writes."""
        block = self.blocks[layer]
        if self._has_tanh_gelu(block.mlp):
            return block.mlp.c_proj(project_gelu(block.mlp.c_fc, block.ln_2(stream)))
        return block.mlp(block.ln_2(stream))

    def after_mlp(self, layer: int, stream: Stream) -> Stream:
        """The same, added to the stream before it leaves the cache."""
        block = self.blocks[layer]
        if self._has_tanh_gelu(block.mlp):
            return project_onto(stream, block.mlp.c_proj, project_gelu(block.mlp.c_fc, block.ln_2(stream)))
        return stream + block.mlp(block.ln_2(stream))

    def knows_neurons(self) -> bool:
        """Whether every MLP is GPT-2's own."""
        return all(type(block.mlp) is GPT2MLP for block in self.blocks)

    def neurons(self, layer: int, stream: Stream) -> tuple[Tensor, Tensor]:
        """The neurons before and after the activation function."""
        block = self.blocks[layer]
        pre = block.mlp.c_fc(block.ln_2(stream))
        return pre, block.mlp.act(pre)

    def activate(
        self, layer: int, pre: Tensor, stream: Stream, neurons: tuple[int, ...] | None = None
    ) -> Tensor:
        """The activation function, neuron by neuron."""
        return self.blocks[layer].mlp.act(pre)

    def neuron_projection(self, layer: int) -> nn.Module:
        """`c_proj` of the MLP."""
        return self.blocks[layer].mlp.c_proj

    def final_norm(self, stream: Stream) -> Stream:
        """`ln_f`."""
        return self.model.transformer.ln_f(stream)

    @property
    def norm_epsilon(self) -> float:
        """That of `ln_f`."""
        return layer_norm_parameters(self.model.transformer.ln_f).epsilon

    @property
    def unembedding(self) -> nn.Module:
        """The LM head, whose weights are those of the token embedding unless they were untied."""
        return self.model.lm_head

    def unembedding_directions(self, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d_model"]:
        """Rows of the unembedding times the final norm's gain."""
        head = self.model.lm_head
        if type(head) is nn.Linear:
            rows = head.weight[tokens]
        else:  # a wrapped unembedding (LoRA) has no single weight: ask it for its columns
            rows = head(torch.eye(self.sizes.d_model, device=tokens.device)).T[tokens]
        return rows * layer_norm(self.model.transformer.ln_f).weight

    def centred(self, stream: Stream) -> Stream:
        """Less its mean, as LayerNorm takes it."""
        return stream - stream.mean(-1, keepdim=True)

    def scaling(self, layer: int) -> float:
        """As the configuration has it for this layer."""
        return self.blocks[layer].attn.scaling

    def attention_scores(self, layer: int, q: Tensor, k: Tensor, allowed: Tensor) -> Tensor:
        """In float32 where `reorder_and_upcast_attn` asks for it."""
        attention = self.attention(layer)
        return attention_scores(q, k, allowed, attention.scaling, attention.reorder_and_upcast_attn)

    def _has_tanh_gelu(self, mlp: nn.Module) -> bool:
        return type(mlp) is GPT2MLP and isinstance(mlp.act, _TANH_GELU) and has_no_hooks(mlp)

    def _some_of_qkv(self, layer: int, stream: Stream, start: int, end: int) -> tuple[Tensor, ...]:
        block, size = self.blocks[layer], self.sizes.d_model
        columns = slice(start * size, end * size)
        return self._by_head(project_some(block.attn.c_attn, block.ln_1(stream), columns), end - start)

    def _by_head(self, joint: Tensor, count: int) -> tuple[Tensor, ...]:
        return tuple(part.unflatten(-1, (self.sizes.n_heads, -1)) for part in joint.chunk(count, dim=-1))


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


@dataclass
class _BlockHooks:
    """The hooks of one block, and what one forward through it must remember between them."""

    hooks: ForwardHooks
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
        return any(self.name(short, layer_type) in self.hooks.wanted for short in shorts)

    def fire(self, short: str, value: Tensor, layer_type: str = "") -> Tensor | None:
        return self.hooks.fire_if_wanted(self.name(short, layer_type), value)

    def install(self) -> None:
        block, hooks = self.block, self.hooks
        if self.wants("resid_pre"):
            hooks.before(block, lambda value: self.fire("resid_pre", value))
        hooks.on_norm(
            block.ln_1, layer_norm_parameters, self.name("scale", "ln1"), self.name("normalized", "ln1")
        )
        self._install_attention()
        if self.wants("resid_mid"):
            hooks.before(block.ln_2, self._resid_mid)
        hooks.on_norm(
            block.ln_2, layer_norm_parameters, self.name("scale", "ln2"), self.name("normalized", "ln2")
        )
        if self.wants("pre", "post", layer_type="mlp"):
            mlp = _inside(block.mlp, GPT2MLP)
            hooks.on_output(mlp.c_fc, self.name("pre", "mlp"))
            hooks.before(mlp.c_proj, lambda value: self.fire("post", value, "mlp"))
        hooks.on_output(block.mlp, self.name("mlp_out"))
        if self.wants("resid_mid"):
            hooks.after(block.mlp, self._remember_mlp)
        if self.wants("resid_mid", "resid_post"):
            hooks.after(block, self._resid_post)

    def _install_attention(self) -> None:
        if self.wants("q", "k", "v", "attn_scores", "pattern", layer_type="attn"):
            self.hooks.after(self.attention.c_attn, self._qkv)
        if self.wants("z", "attn_scores", "pattern", "result", layer_type="attn"):
            self.hooks.before(self.attention.c_proj, self._z)
        if self.wants("result", layer_type="attn"):
            self.hooks.after(self.attention.c_proj, self._projected)
        if self.wants("attn_out"):
            self.hooks.after(self.block.attn, self._attn_out)

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
        upcast, allowed = attention.reorder_and_upcast_attn, self.hooks.allowed
        scores = attention_scores(self.q, self.k, allowed, attention.scaling, upcast)
        new_scores = self.fire("attn_scores", scores, "attn")
        pattern = attention_pattern(scores, allowed) if new_scores is None else attention_pattern(new_scores)
        pattern = pattern.to(self.v.dtype)
        new_pattern = self.fire("pattern", pattern, "attn")
        if new_scores is None and new_pattern is None:
            return None
        pattern = attention.attn_dropout(pattern if new_pattern is None else new_pattern)
        return head_outputs(pattern, self.v)

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
