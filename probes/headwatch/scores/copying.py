"""Does a head write what it reads: the copying score of each head's OV circuit.

Costs one product over the vocabulary, d_vocab × d_model², for all heads together, and holds the embedding and
the unembedding once more while it runs. No prompt is needed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from headwatch.model.eval_mode import probing
from headwatch.model.find import find_gpt2
from headwatch.model.gpt2 import attentions, head_values, layout, output_projection, unembed
from headwatch.model.torch_hooks import per_head_output

# Large against LayerNorm's epsilon, so that a basis vector is normalized to a fixed length.
_FAR = 1e3


def copying_scores(model: nn.Module) -> Float[Tensor, "layer head"]:
    """Σλ / Σ|λ| over the eigenvalues λ of each head's token-to-logit map W_E W_V W_O W_U (Elhage et al. 2021).

    Example:
        >>> scores = hw.copying_scores(model)                              # [layer, head]
        >>> bool((scores.abs() <= 1).all())
        True

    1 where attending to a token raises that token's own logit in every direction (a copying head), −1 where it
    lowers it, near 0 for neither. Both LayerNorms are folded into the maps (mean and gain, but not the division
    by each token's own spread), biases are left out, and the mean logit is taken off. The maps are found by
    calling the model's modules, so adapters such as LoRA's count.

    Args:
        model: a GPT2LMHeadModel, or a module that holds one.

    Returns:
        `[layer, head]`, from −1 to 1, without unit.
    """
    gpt2 = find_gpt2(model)
    with probing(gpt2):
        through_vocabulary = _unembed_then_embed(gpt2)
        scores = [
            copying_score_of_maps(_output_maps(gpt2, layer), through_vocabulary, _value_maps(gpt2, layer))
            for layer in range(len(attentions(gpt2)))
        ]
    return torch.stack(scores)


def copying_score_of_maps(
    w_o: Float[Tensor, "head d_head d_model"],
    through_vocabulary: Float[Tensor, "d_model d_model"],
    w_v: Float[Tensor, "head d_model d_head"],
) -> Float[Tensor, " head"]:
    """Σλ / Σ|λ| per head from the maps that act on row vectors.

    Args:
        w_o: what each head writes to the stream.
        through_vocabulary: W_U W_E, the sum over tokens of unembedding times embedding.
        w_v: what each head reads from the stream.
    """
    # W_O W_U W_E W_V (d_head square) has the non-zero eigenvalues of W_E W_V W_O W_U (d_vocab square).
    eigenvalues = torch.linalg.eigvals((w_o @ through_vocabulary @ w_v).double())
    return (eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)).float()


def _unembed_then_embed(gpt2: GPT2LMHeadModel) -> Float[Tensor, "d_model d_model"]:
    basis = _basis(gpt2, layout(gpt2).d_model)
    directions = unembed(gpt2, basis) - unembed(gpt2, torch.zeros_like(basis[:1]))
    directions = directions - directions.mean(-1, keepdim=True)
    tokens = torch.arange(layout(gpt2).d_vocab, device=gpt2.device)
    return directions.float() @ gpt2.get_input_embeddings()(tokens).float()


def _value_maps(gpt2: GPT2LMHeadModel, layer: int) -> Float[Tensor, "head d_model d_head"]:
    basis = _basis(gpt2, layout(gpt2).d_model)
    values = head_values(gpt2, layer, basis) - head_values(gpt2, layer, torch.zeros_like(basis[:1]))
    return values.transpose(0, 1).float()


def _output_maps(gpt2: GPT2LMHeadModel, layer: int) -> Float[Tensor, "head d_head d_model"]:
    sizes = layout(gpt2)
    basis = torch.eye(sizes.d_head, dtype=gpt2.dtype, device=gpt2.device)
    for_each_head = basis[None, :, None].expand(1, -1, sizes.n_heads, -1)
    written, _ = per_head_output(output_projection(gpt2, layer), for_each_head)
    return written[0].transpose(0, 1).float()


def _basis(gpt2: GPT2LMHeadModel, size: int) -> Float[Tensor, "size size"]:
    return _FAR * torch.eye(size, dtype=gpt2.dtype, device=gpt2.device)
