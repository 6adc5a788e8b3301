"""A network that is not GPT-2 in anything that the interface allows for: grouped keys, rotary positions, RMSNorm, a
gated MLP, `nn.Linear`, no positional embedding, an untied unembedding; attention and MLP in a row or side by side."""

from dataclasses import dataclass
from functools import cached_property, partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from headwatch.model.activation_names import ActName
from headwatch.model.architecture import Architecture, Sizes
from headwatch.model.attention import attend, attention_pattern, attention_scores, head_outputs
from headwatch.model.torch_hooks import ForwardHooks, NormParameters, per_head_output

HEADS, KV_HEADS, D_HEAD, D_MODEL, D_MLP, VOCABULARY, POSITIONS = 4, 2, 6, 20, 24, 61, 40


def rotate(x: Tensor, first: int = 0) -> Tensor:
    """`[..., pos, head, d_head]` turned by the angles of the positions from `first` on."""
    positions = torch.arange(first, first + x.shape[-3])[:, None, None]
    angles = positions / 50 ** (torch.arange(D_HEAD // 2) / (D_HEAD // 2))
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


class Block(nn.Module):
    def __init__(self, parallel: bool) -> None:
        super().__init__()
        self.parallel = parallel
        self.norm1, self.norm2 = nn.RMSNorm(D_MODEL, eps=1e-5), nn.RMSNorm(D_MODEL, eps=1e-5)
        self.q = nn.Linear(D_MODEL, HEADS * D_HEAD)
        self.k, self.v = (nn.Linear(D_MODEL, KV_HEADS * D_HEAD) for _ in "kv")
        self.o = nn.Linear(HEADS * D_HEAD, D_MODEL)
        self.gate, self.up = nn.Linear(D_MODEL, D_MLP, bias=False), nn.Linear(D_MODEL, D_MLP)
        self.down = nn.Linear(D_MLP, D_MODEL)

    def forward(self, x: Tensor, look: Tensor, edit=lambda name, value: value) -> Tensor:
        x = edit("hook_resid_pre", x)
        h = self.norm1(x)
        q, k, v = (
            edit(f"attn.hook_{name}", getattr(self, name)(h).unflatten(-1, (-1, D_HEAD))) for name in "qkv"
        )
        each = HEADS // KV_HEADS  # query heads 0 and 1 share the first head of keys, 2 and 3 the second
        keys, values = (part.repeat_interleave(each, dim=2) for part in (rotate(k), v))
        scores = torch.einsum("bqhd,bkhd->bhqk", rotate(q), keys) / D_HEAD**0.5
        pattern = edit("attn.hook_pattern", scores.masked_fill(~look, -torch.inf).softmax(-1))
        z = edit("attn.hook_z", torch.einsum("bhqk,bkhd->bqhd", pattern, values))
        result, bias = per_head_output(self.o, z)
        replaced = edit("attn.hook_result", result)
        out = self.o(z.flatten(-2)) if replaced is result else replaced.sum(2) + bias
        attn_out = edit("hook_attn_out", out)
        mid = x if self.parallel else edit("hook_resid_mid", x + attn_out)
        h = self.norm2(mid)
        pre = edit("mlp.hook_pre", self.gate(h))
        post = edit("mlp.hook_post", nn.functional.silu(pre) * self.up(h))
        out = mid + edit("hook_mlp_out", self.down(post))
        return edit("hook_resid_post", out + attn_out if self.parallel else out)


class ToyModel(nn.Module):
    def __init__(self, layers: int = 3, parallel: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.config = SimpleNamespace(n_layer=layers, n_head=HEADS)
        self.embed = nn.Embedding(VOCABULARY, D_MODEL)
        self.blocks = nn.ModuleList([Block(parallel) for _ in range(layers)])
        self.norm, self.head = nn.RMSNorm(D_MODEL, eps=1e-5), nn.Linear(D_MODEL, VOCABULARY, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(parameter.detach().sign() * 0.1 * (parameter.ndim == 1))
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None, edit=None) -> Tensor:
        look = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()[None, None]
        if attention_mask is not None:
            look = look & attention_mask[:, None, None].bool()
        x = self.embed(ids)
        for number, block in enumerate(self.blocks):
            x = block(x, look) if edit is None else block(x, look, partial(edit, number))
        return self.head(self.norm(x))


def forward(model: ToyModel, ids: Tensor, edit=lambda name, value: value) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and activations by name, as `tests.reference.functional.forward` gives them for GPT-2."""
    kept = {}

    def point(layer: int, name: str, value: Tensor) -> Tensor:
        full = f"blocks.{layer}.{name}"
        kept[full] = edit(full, value)
        return kept[full]

    with torch.no_grad():
        return model(ids, edit=point), kept


@dataclass(frozen=True, eq=False)
class Toy(Architecture):
    model: ToyModel
    class_name = "ToyModel"

    @classmethod
    def recognises(cls, module):
        return isinstance(module, ToyModel) and not module.blocks[0].parallel

    @cached_property
    def sizes(self):
        return Sizes(len(self.model.blocks), HEADS, KV_HEADS, D_HEAD, D_MODEL, D_MLP, POSITIONS, VOCABULARY)

    @property
    def takes_mask(self):
        return self.model

    @property
    def unembedding(self):
        return self.model.head

    def forward(self, ids, attention_mask):
        return self.model(ids, attention_mask=attention_mask)

    def embed(self, ids):
        return self.model.embed(ids)

    def token_embeddings(self, tokens):
        return self.model.embed(tokens)

    def qkv(self, layer, stream):
        return (self.queries(layer, stream), *self.keys_values(layer, stream))

    def queries(self, layer, stream):
        block = self.model.blocks[layer]
        return block.q(block.norm1(stream)).unflatten(-1, (HEADS, D_HEAD))

    def keys_values(self, layer, stream):
        block = self.model.blocks[layer]
        h = block.norm1(stream)
        return tuple(part(h).unflatten(-1, (KV_HEADS, D_HEAD)) for part in (block.k, block.v))

    def attend(self, layer, q, k, v, first):
        return attend(rotate(q, first), rotate(k), v, self.scaling(layer), first)

    def attention_scores(self, layer, q, k, allowed):
        return attention_scores(rotate(q), rotate(k), allowed, self.scaling(layer))

    def output_projection(self, layer):
        return self.model.blocks[layer].o

    def after_attention(self, layer, stream, z):
        written = self.model.blocks[layer].o(z.flatten(-2))
        return stream + written + (self.mlp(layer, stream) if self.parallel else 0)

    def mlp(self, layer, stream):
        return self.model.blocks[layer].down(self.neurons(layer, stream)[1])

    def neurons(self, layer, stream):
        block = self.model.blocks[layer]
        pre = block.gate(block.norm2(stream))
        return pre, self.activate(layer, pre, stream)

    def activate(self, layer, pre, stream, neurons=None):
        block = self.model.blocks[layer]
        up = block.up(block.norm2(stream))
        return nn.functional.silu(pre) * (up if neurons is None else up[..., list(neurons)])

    def neuron_projection(self, layer):
        return self.model.blocks[layer].down

    def final_norm(self, stream):
        return self.model.norm(stream)

    @property
    def norm_epsilon(self):
        return self.model.norm.eps

    def unembedding_directions(self, tokens):
        return self.model.head.weight[tokens] * self.model.norm.weight

    def activation_names(self):
        norm = ("scale", "normalized")
        mid = () if self.parallel else ("resid_mid",)
        kinds = [
            ("attn", ("q", "k", "v", "attn_scores", "pattern", "z", "result")),
            ("mlp", ("pre", "post")),
            ("", ("resid_pre", "attn_out", *mid, "mlp_out", "resid_post")),
            ("ln1", norm),
            ("ln2", norm),
        ]
        blocks = [
            ActName(name, layer, kind).full
            for layer in range(self.sizes.n_layers)
            for kind, names in kinds
            for name in names
        ]
        return ["hook_embed", *blocks, "ln_final.hook_scale", "ln_final.hook_normalized"]

    def install(self, hooks: ForwardHooks) -> None:
        hooks.on_output(self.model.embed, "hook_embed")
        for layer, block in enumerate(self.model.blocks):
            _BlockHooks(self, hooks, layer, block).install()
        hooks.on_norm(self.model.norm, rms_norm, "ln_final.hook_scale", "ln_final.hook_normalized")


class ParallelToy(Toy):
    class_name, parallel = "parallel ToyModel", True

    @classmethod
    def recognises(cls, module):
        return isinstance(module, ToyModel) and module.blocks[0].parallel


def rms_norm(module: nn.Module) -> NormParameters:
    return NormParameters(module.eps, module.weight, None, centres=False)


class _BlockHooks:
    """The hooks of one block; what it adds to its input is put together anew where a part was replaced."""

    def __init__(self, network: Toy, hooks: ForwardHooks, layer: int, block: Block) -> None:
        self.network, self.hooks, self.layer, self.block = network, hooks, layer, block
        self.seen: dict[str, Tensor] = {}

    def fire(self, short: str, value: Tensor, kind: str = "") -> Tensor | None:
        return self.hooks.fire_if_wanted(ActName(short, self.layer, kind).full, value)

    def install(self) -> None:
        hooks, block = self.hooks, self.block
        hooks.before(block, self.resid_pre)
        for norm, kind in ((block.norm1, "ln1"), (block.norm2, "ln2")):
            hooks.on_norm(
                norm, rms_norm, *(ActName(n, self.layer, kind).full for n in ("scale", "normalized"))
            )
        for name in "qkv":
            hooks.after(getattr(block, name), partial(self.projected, name))
        hooks.before(block.o, self.z)
        hooks.after(block.o, self.attn_out)
        hooks.before(block.norm2, self.resid_mid)
        hooks.after(block.gate, lambda _, args, out: self.fire("pre", out, "mlp"))
        hooks.before(block.down, lambda value: self.fire("post", value, "mlp"))
        hooks.after(block.down, self.mlp_out)
        hooks.after(block, self.resid_post)

    def keep(self, name: str, value: Tensor, new: Tensor | None) -> Tensor | None:
        self.seen[name] = value if new is None else new
        return new

    def resid_pre(self, value: Tensor) -> Tensor | None:
        return self.keep("pre", value, self.fire("resid_pre", value))

    def projected(self, name: str, _: nn.Module, args: tuple, out: Tensor) -> Tensor | None:
        value = out.unflatten(-1, (-1, D_HEAD))
        new = self.keep(name, value, self.fire(name, value, "attn"))
        return None if new is None else new.flatten(-2)

    def z(self, value: Tensor) -> Tensor | None:
        z = value.unflatten(-1, (HEADS, D_HEAD))
        new = self.through_pattern()
        z = z if new is None else new
        fired = self.fire("z", z, "attn")
        z = z if fired is None else fired
        result, bias = per_head_output(self.block.o, z)
        replaced = self.fire("result", result, "attn")
        self.seen["written"] = None if replaced is None else replaced.sum(2) + bias
        return z.flatten(-2)

    def through_pattern(self) -> Tensor | None:
        q, k, v = (self.seen[name] for name in "qkv")
        scores = self.network.attention_scores(self.layer, q, k, self.hooks.allowed)
        new_scores = self.fire("attn_scores", scores, "attn")
        pattern = attention_pattern(scores if new_scores is None else new_scores)
        new = self.fire("pattern", pattern, "attn")
        if new is None and new_scores is None:
            return None
        return head_outputs(pattern if new is None else new, v)

    def attn_out(self, _: nn.Module, args: tuple, out: Tensor) -> Tensor:
        out = out if self.seen["written"] is None else self.seen["written"]
        new = self.keep("attn_out", out, self.fire("attn_out", out))
        return out if new is None else new

    def resid_mid(self, value: Tensor) -> Tensor | None:
        new = None if self.network.parallel else self.fire("resid_mid", value)
        return self.keep("mid", value, new)

    def mlp_out(self, _: nn.Module, args: tuple, out: Tensor) -> Tensor | None:
        return self.keep("mlp_out", out, self.fire("mlp_out", out))

    def resid_post(self, _: nn.Module, args: tuple, out: Tensor) -> Tensor:
        whole = self.seen["mid"] + self.seen["mlp_out"]
        whole = whole + self.seen["attn_out"] if self.network.parallel else whole
        new = self.fire("resid_post", whole)
        return whole if new is None else new
