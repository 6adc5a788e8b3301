"""A small language model of somebody's own, for CONTRIBUTING's example of a model family."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from headwatch.model.architecture import Sizes

SIZES = Sizes(n_layers=2, n_heads=4, n_kv_heads=4, d_head=8, d_model=32, d_mlp=48, n_positions=40, d_vocab=61)


class Block(nn.Module):
    """Attention, then an MLP, each behind a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(SIZES.d_model), nn.LayerNorm(SIZES.d_model)
        self.qkv, self.out = (
            nn.Linear(SIZES.d_model, 3 * SIZES.d_model),
            nn.Linear(SIZES.d_model, SIZES.d_model),
        )
        self.up, self.down = nn.Linear(SIZES.d_model, SIZES.d_mlp), nn.Linear(SIZES.d_mlp, SIZES.d_model)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (SIZES.n_heads, -1)).transpose(1, 2) for part in parts)
        z = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.out(z.flatten(-2))
        return x + self.down(gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """Token and position embeddings, blocks, a norm and an unembedding of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(SIZES.d_vocab, SIZES.d_model)
        self.positions = nn.Embedding(SIZES.n_positions, SIZES.d_model)
        self.blocks = nn.ModuleList([Block() for _ in range(SIZES.n_layers)])
        self.norm, self.head = nn.LayerNorm(SIZES.d_model), nn.Linear(SIZES.d_model, SIZES.d_vocab)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
