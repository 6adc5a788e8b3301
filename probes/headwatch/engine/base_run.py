"""One run without interventions, kept layer by layer: what a sweep starts from and takes its values from."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.pinned_heads import PinnedIn, nothing_pinned, pin
from headwatch.model.architecture import Architecture
from headwatch.model.attention import attention_pattern, causal_mask


@dataclass(frozen=True)
class BaseRun:
    """The stream and the attention of each layer, on prompts of one length.

    Attributes:
        network: the model.
        ids: the prompts, `[pair, pos]`.
        answer_only: whether only the last position's output is read.
        n_shared: how many leading tokens all prompts share, where they are to be computed once.
        pre: the stream before each layer, and after the last one, `[pair, pos, d_model]`.
        mid: the stream between attention and MLP; where these stand side by side, the stream after both.
        q: queries by layer, `[pair, pos, head, d_head]`.
        k: keys, which several heads may share.
        v: values, likewise.
        z: what each head reads from where it attends.
    """

    network: Architecture
    ids: Int[Tensor, "pair pos"]
    answer_only: bool
    n_shared: int = 0
    pre: list[Tensor] = field(default_factory=list)
    mid: list[Tensor] = field(default_factory=list)
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        network: Architecture,
        ids: Int[Tensor, "pair pos"],
        *,
        answer_only: bool,
        n_shared: int = 0,
        pinned: PinnedIn = nothing_pinned,
    ) -> "BaseRun":
        """Run the prompts `[pair, pos]`, maybe with some heads replaced all along."""
        run = cls(network, ids, answer_only, n_shared)
        stream, every = network.embed(ids), torch.zeros(1, dtype=torch.long)
        for layer in range(network.sizes.n_layers):
            run.pre.append(stream)
            q, k, v = network.qkv(layer, stream)
            z = pin(pinned(layer, every), "z", network.attend(layer, q, k, v, 0)[None], 0)[0]
            stream = network.after_attention(layer, stream, z)
            for kept, value in ((run.q, q), (run.k, k), (run.v, v), (run.z, z), (run.mid, stream)):
                kept.append(value)
            stream = network.after_mlp(layer, stream)
        run.pre.append(stream)
        return run

    @cached_property
    def shared_prefix(self) -> "BaseRun":
        """The same run at the leading tokens that all prompts share, of one prompt that stands for all."""
        kept = (self.pre, self.mid, self.q, self.k, self.v, self.z)
        return BaseRun(
            self.network,
            self.ids[:1, : self.n_shared],
            False,
            0,
            *([value[:1, : self.n_shared] for value in values] for values in kept),
        )

    @property
    def length(self) -> int:
        """The number of positions."""
        return self.ids.shape[1]

    @property
    def n_pairs(self) -> int:
        """The number of prompts."""
        return len(self.ids)

    def answer_only_in(self, layer: int) -> bool:
        """Whether only the last position goes on past a layer's keys and values."""
        return self.answer_only and layer == self.network.sizes.n_layers - 1

    def read_by_mlp(self, layer: int) -> Float[Tensor, "pair pos d_model"]:
        """The stream that a layer's MLP reads."""
        return self.pre[layer] if self.network.parallel else self.mid[layer]

    def without_attention(self, layer: int) -> Float[Tensor, "pair pos d_model"]:
        """`mid` without what attention wrote."""
        if not self.network.parallel:
            return self.pre[layer]
        return self.pre[layer] + self.network.mlp(layer, self.pre[layer])

    def without_mlp(self, layer: int) -> Float[Tensor, "pair pos d_model"]:
        """The stream after a layer without what its MLP wrote."""
        if not self.network.parallel:
            return self.mid[layer]
        return self.mid[layer] - self.network.mlp(layer, self.pre[layer])

    def activation(self, name: str, layer: int) -> Float[Tensor, "pair pos *rest"]:
        """A site's activation in a layer; a `pattern` is `[pair, head, query, key]`."""
        kept = {
            "z": self.z,
            "q": self.q,
            "k": self.k,
            "v": self.v,
            "resid_pre": self.pre,
            "resid_mid": self.mid,
        }
        if name in kept:
            return kept[name][layer]
        if name == "resid_post":
            return self.pre[layer + 1]
        if name == "attn_out":
            return self.mid[layer] - self.without_attention(layer)
        if name == "mlp_out":
            return self.pre[layer + 1] - self.without_mlp(layer)
        if name == "result":
            return self.network.write_heads(layer, self.z[layer]).movedim(0, 2)
        if name == "pattern":
            return self._pattern(layer)
        pre, post = self.network.neurons(layer, self.read_by_mlp(layer))
        return pre if name == "pre" else post

    def _pattern(self, layer: int) -> Float[Tensor, "pair head query key"]:
        allowed = causal_mask(self.ids, None)
        scores = self.network.attention_scores(layer, self.q[layer], self.k[layer], allowed)
        return attention_pattern(scores, allowed).to(self.v[layer].dtype)
