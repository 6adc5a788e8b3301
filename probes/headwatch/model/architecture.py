"""All that headwatch knows of a network, whatever its family: a family's file says how its modules do each of these.

The engine, hooks, cache, scores and attribution call nothing else, so that the next family is one new file beside
`gpt2.py`, registered in `find.py`. Everything goes through calls of the user's own modules, so that LoRA adapters,
tied weights and forward hooks keep their effect. What was thought of, and how it fits in:

- **Rotary positions**: `q` and `k` are as projected, before any rotation, wherever they are read or written
  (TransformerLens's `hook_q`; its `hook_rot_q` has no name here). `attend` and `attention_scores` rotate: they are told
  at which position the queries begin, and keys begin at 0.
- **Fewer key and value heads than query heads**: `sizes.units(site)` says how many heads a site has, and `attend` lets
  each head of keys and values serve its group of queries.
- **Windows, soft caps, another scale in some layers**: `attend` and `attention_scores` know their layer.
- **RMSNorm**: `centred` leaves the stream as it is, and `NormParameters` says whether a norm centres and has a bias.
- **A gated MLP**: `neurons` gives what goes into the activation function and what is written, gate included;
  `activate` is told the stream, from which the other factor comes.
- **Attention and MLP side by side** (GPT-NeoX): `parallel`. Both read the stream before the block; `after_attention`
  adds what both write and `after_mlp` nothing, so that the stream "between" them, which heads write to, is the one
  after the block. `resid_mid` has no meaning then, and no name.
- **No positional embedding of its own**: `activation_names` lists what there is.
- **`nn.Linear` or `Conv1D`, tied or untied unembedding**: projections are called, or multiplied with by `fast_linear`,
  which knows both kinds.

A stream may have any leading axes, `[..., pos, d_model]`; q, k, v and z are `[..., pos, head, d_head]`.
"""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headwatch.cell_names import how_many
from headwatch.model.activation_names import parse
from headwatch.model.attention import attend, attention_scores
from headwatch.model.fast_linear import write_parts
from headwatch.model.torch_hooks import ForwardHooks, has_no_hooks

Stream = Float[Tensor, "*n d_model"]
HeadVectors = Float[Tensor, "*n head d_head"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network.

    Attributes:
        n_layers: blocks.
        n_heads: query heads of a layer, each with its own pattern and z.
        n_kv_heads: key and value heads of a layer; a divisor of `n_heads`, and the same where no heads share keys.
        d_head: the length of a head's q, k, v and z.
        d_model: the width of the residual stream.
        d_mlp: neurons of a layer.
        n_positions: tokens of the longest prompt.
        d_vocab: tokens in the vocabulary.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int
    n_positions: int
    d_vocab: int

    def units(self, site: str) -> int:
        """How many heads a site has: those that keys and values have, or those that queries have."""
        return self.n_kv_heads if site in ("k", "v") else self.n_heads

    @property
    def group(self) -> int:
        """How many query heads share one head of keys and values."""
        return self.n_heads // self.n_kv_heads

    @property
    def in_words(self) -> str:
        """Layers and heads, such as `12 layers × 12 heads`."""
        return f"{how_many(self.n_layers, 'layer')} × {how_many(self.n_heads, 'head')}"


@dataclass(frozen=True, eq=False, repr=False)
class Architecture(ABC):
    """A network of one family, in its parts.

    Attributes:
        model: the user's own module, whose forward gives logits.
        class_name: what that module's class is called.
        parallel: whether attention and MLP of a block stand side by side.
    """

    model: nn.Module

    class_name: ClassVar[str]
    parallel: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.sizes.in_words})"

    @classmethod
    @abstractmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Whether a module is a network of this family."""

    @cached_property
    @abstractmethod
    def sizes(self) -> Sizes:
        """The network's sizes."""

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """In which precision they are."""
        return next(self.model.parameters()).dtype

    # The whole network, by its own forward.

    @abstractmethod
    def forward(
        self, ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch pos vocab"]:
        """The logits by the model's own forward; padding may stand on either side."""

    def forward_at(
        self, ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None, position: int
    ) -> Float[Tensor, "batch 1 vocab"]:
        """The same at one position alone, which a family may unembed without the others."""
        return self.forward(ids, attention_mask)[:, position : position + 1]

    @abstractmethod
    def install(self, hooks: ForwardHooks) -> None:
        """Put the hooks that fire the wanted activations on the model's modules."""

    @abstractmethod
    def activation_names(self) -> list[str]:
        """The full names of all activations that `install` can fire, in the order of a forward pass."""

    @property
    @abstractmethod
    def takes_mask(self) -> nn.Module:
        """The module whose call carries `attention_mask`, by keyword or as the third argument."""

    # Its parts, as calls of its modules.

    @abstractmethod
    def embed(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The stream before the first layer."""

    @abstractmethod
    def token_embeddings(self, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d_model"]:
        """What each token alone is embedded as, without its position."""

    @abstractmethod
    def qkv(self, layer: int, stream: Stream) -> tuple[HeadVectors, HeadVectors, HeadVectors]:
        """Queries, keys and values, before any rotation."""

    @abstractmethod
    def queries(self, layer: int, stream: Stream) -> HeadVectors:
        """Queries alone."""

    @abstractmethod
    def keys_values(self, layer: int, stream: Stream) -> tuple[HeadVectors, HeadVectors]:
        """Keys and values alone."""

    @abstractmethod
    def output_projection(self, layer: int) -> nn.Module:
        """The module whose input is a layer's z, `[..., head * d_head]`, and whose output attention writes."""

    @abstractmethod
    def after_attention(self, layer: int, stream: Stream, z: HeadVectors) -> Stream:
        """The stream and what attention adds to it; where `parallel`, what the MLP adds as well."""

    @abstractmethod
    def mlp(self, layer: int, stream: Stream) -> Stream:
        """What the MLP writes, from the stream that it reads."""

    @abstractmethod
    def neurons(self, layer: int, stream: Stream) -> tuple[Tensor, Tensor]:
        """The MLP's neurons before the activation function and as they are written, `[..., d_mlp]`."""

    @abstractmethod
    def activate(
        self, layer: int, pre: Tensor, stream: Stream, neurons: tuple[int, ...] | None = None
    ) -> Tensor:
        """What neurons write, given what goes into the activation function.

        Args:
            layer: the layer.
            pre: `[..., neuron]`.
            stream: what the MLP reads, for the other factor of a gated MLP.
            neurons: which neurons these are; None for all.
        """

    @abstractmethod
    def neuron_projection(self, layer: int) -> nn.Module:
        """The module whose input is the neurons as they are written, and whose output the MLP writes."""

    @abstractmethod
    def final_norm(self, stream: Stream) -> Stream:
        """What the unembedding reads."""

    @property
    @abstractmethod
    def norm_epsilon(self) -> float:
        """What the final norm adds to the variance."""

    @property
    @abstractmethod
    def unembedding(self) -> nn.Module:
        """The module that makes logits of what `final_norm` gives."""

    @abstractmethod
    def unembedding_directions(self, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d_model"]:
        """For each token, the direction of the normalized stream, before gain and bias, that raises its logit."""

    # What follows from these, and what only some families do otherwise.

    def check_name(self, full: str) -> str:
        """The full name of an activation, if the network has it.

        Raises:
            ValueError: it has none of this name.
        """
        if full in self.activation_names():
            return full
        name = parse(full)
        if name.layer is not None and name.layer >= self.sizes.n_layers:
            raise ValueError(f"{full}: the model has layers 0 to {self.sizes.n_layers - 1}")
        instead = "; use 'pre' or 'post'" if name.name == "mid" else ""
        raise ValueError(f"{full}: a {type(self).__name__} has no {name.name!r}{instead}")

    def knows_neurons(self) -> bool:
        """Whether every MLP is the family's own, so that its neurons are known."""
        return True

    def centred(self, stream: Stream) -> Stream:
        """The stream as norms scale it: less its mean where they are LayerNorms, as it is where they are RMSNorms."""
        return stream

    def scaling(self, layer: int) -> float:
        """What attention scores are multiplied with."""
        return self.sizes.d_head**-0.5

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "row query head d_head"],
        k: Float[Tensor, "row key kv_head d_head"],
        v: Float[Tensor, "row key kv_head d_head"],
        first: int,
    ) -> Float[Tensor, "row query head d_head"]:
        """Causal attention of queries at the positions from `first` on over keys at the positions from 0 on."""
        return attend(q, k, v, self.scaling(layer), first)

    def attention_scores(
        self,
        layer: int,
        q: Float[Tensor, "batch query head d_head"],
        k: Float[Tensor, "batch key kv_head d_head"],
        allowed: Bool[Tensor, "batch #head query key"],
    ) -> Float[Tensor, "batch head query key"]:
        """Attention scores of queries and keys at the positions from 0 on, −inf where a query may not look."""
        return attention_scores(q, k, allowed, self.scaling(layer))

    def after_mlp(self, layer: int, stream: Stream) -> Stream:
        """The stream and what the MLP adds to it; where `parallel`, the stream as it is."""
        return stream if self.parallel else stream + self.mlp(layer, stream)

    def write_heads(self, layer: int, z: Tensor, heads: tuple[int, ...] | None = None) -> Tensor:
        """What each head alone adds to the stream, without the bias, `[head, ..., d_model]`.

        Args:
            layer: the layer.
            z: `[..., head, d_head]`, of these heads.
            heads: which heads these are; None for all.
        """
        chosen = tuple(range(self.sizes.n_heads)) if heads is None else heads
        return write_parts(self.output_projection(layer), z, chosen, self.sizes.n_heads)

    def write_neurons(self, layer: int, post: Tensor, neurons: tuple[int, ...]) -> Tensor:
        """What each neuron alone adds to the stream, `[neuron, ..., d_model]`, from its values `[..., neuron]`."""
        return write_parts(self.neuron_projection(layer), post[..., None], neurons, self.sizes.d_mlp)

    def unembed(self, stream: Stream) -> Float[Tensor, "*n vocab"]:
        """Logits of a point of the residual stream: the final norm, then the unembedding."""
        return self.unembedding(self.final_norm(stream))

    def logits(self, stream: Stream) -> Float[Tensor, "*n vocab"]:
        """The same, in the stream's precision under autocast too, since effects are differences."""
        same = next(self.unembedding.parameters()).dtype == stream.dtype
        with torch.autocast(stream.device.type, enabled=False) if same else nullcontext():
            return self.unembed(stream)

    def some_logits(
        self, stream: Float[Tensor, "*n pair d_model"], tokens: Int[Tensor, "pair k"]
    ) -> Float[Tensor, "*n pair k"]:
        """The logits of a few tokens per pair."""
        head = self.unembedding
        if type(head) is nn.Linear and has_no_hooks(head) and head.bias is None:
            with torch.autocast(stream.device.type, enabled=False):
                return torch.einsum("...pd,pkd->...pk", self.final_norm(stream), head.weight[tokens])
        logits = self.logits(stream)
        return logits.gather(-1, tokens.expand(*logits.shape[:-1], -1))
