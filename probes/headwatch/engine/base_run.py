"""One run without interventions, kept layer by layer: what a sweep starts from and takes its values from."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.engine.pinned_heads import HeldIn, hold, nothing_held
from headwatch.model.attention import attend, attention_pattern, attention_scores, causal_mask
from headwatch.model.gpt2 import GPT2Parts


@dataclass(frozen=True)
class PlainRun:
    """The stream and the attention of each layer, on prompts of one length.

    Attributes:
        parts: the model.
        ids: the prompts, `[pair, pos]`.
        answer_only: whether only the last position's output is read.
        lead: how many leading tokens all prompts share, where they are to be computed once.
        pre: the stream before each layer, and after the last one, `[pair, pos, d_model]`.
        mid: the stream between attention and MLP.
        q: queries by layer, `[pair, pos, head, d_head]`.
        k: keys.
        v: values.
        z: what each head reads from where it attends.
    """

    parts: GPT2Parts
    ids: Int[Tensor, "pair pos"]
    answer_only: bool
    lead: int = 0
    pre: list[Tensor] = field(default_factory=list)
    mid: list[Tensor] = field(default_factory=list)
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        parts: GPT2Parts,
        ids: Int[Tensor, "pair pos"],
        *,
        answer_only: bool,
        lead: int = 0,
        held: HeldIn = nothing_held,
    ) -> "PlainRun":
        """Run the prompts `[pair, pos]`, maybe with some heads replaced all along."""
        run = cls(parts, ids, answer_only, lead)
        stream, every = parts.embed(ids), torch.zeros(1, dtype=torch.long)
        for layer in range(parts.sizes.n_layers):
            run.pre.append(stream)
            q, k, v = parts.qkv(layer, stream)
            z = hold(held(layer, every), "z", attend(q, k, v, parts.scaling(layer), 0)[None], 0)[0]
            stream = parts.after_attention(layer, stream, z)
            for kept, value in ((run.q, q), (run.k, k), (run.v, v), (run.z, z), (run.mid, stream)):
                kept.append(value)
            stream = parts.after_mlp(layer, stream)
        run.pre.append(stream)
        return run

    @cached_property
    def trunk(self) -> "PlainRun":
        """The same run at the leading tokens that all prompts share, of one prompt that stands for all."""
        kept = (self.pre, self.mid, self.q, self.k, self.v, self.z)
        return PlainRun(
            self.parts,
            self.ids[:1, : self.lead],
            False,
            0,
            *([value[:1, : self.lead] for value in values] for values in kept),
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
        return self.answer_only and layer == self.parts.sizes.n_layers - 1

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
            return self.mid[layer] - self.pre[layer]
        if name == "mlp_out":
            return self.pre[layer + 1] - self.mid[layer]
        if name == "result":
            return self.parts.write_heads(layer, self.z[layer]).movedim(0, 2)
        if name == "pattern":
            return self._pattern(layer)
        pre, post = self.parts.neurons(layer, self.mid[layer])
        return pre if name == "pre" else post

    def _pattern(self, layer: int) -> Float[Tensor, "pair head query key"]:
        allowed = causal_mask(self.ids, None)
        scaling = self.parts.scaling(layer)
        return attention_pattern(attention_scores(self.q[layer], self.k[layer], allowed, scaling))
