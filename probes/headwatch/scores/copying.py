"""Does a head write what it reads: the copying score of each head's OV circuit.

Costs one product over the vocabulary, d_vocab × d_model², for all heads together, and holds the embedding and
the unembedding once more while it runs. No prompt is needed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwatch.model.architecture import Architecture
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture

# Large against a norm's epsilon, so that a basis vector is normalized to a fixed length.
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
        model: Hugging Face's GPT-2, or a module that holds one.

    Returns:
        `[layer, head]`, from −1 to 1, without unit; NaN for a head whose map is not finite.
    """
    network = find_architecture(model)
    with eval_mode(network.model):
        through_vocabulary = _unembed_then_embed(network)
        scores = [
            copying_score_of_maps(
                _output_maps(network, layer), through_vocabulary, _value_maps(network, layer)
            )
            for layer in range(network.sizes.n_layers)
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
    maps = (w_o @ through_vocabulary @ w_v).double()
    finite = maps.isfinite().all(-1).all(-1)
    eigenvalues = torch.linalg.eigvals(maps[finite])
    scores = torch.full_like(maps[:, 0, 0], torch.nan, dtype=torch.float)
    scores[finite] = (eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)).float()
    return scores


def _unembed_then_embed(network: Architecture) -> Float[Tensor, "d_model d_model"]:
    basis = _basis(network)
    directions = network.unembed(basis) - network.unembed(torch.zeros_like(basis[:1]))
    directions = directions - directions.mean(-1, keepdim=True)
    tokens = torch.arange(network.sizes.d_vocab, device=network.device)
    return directions.float() @ network.token_embeddings(tokens).float()


def _value_maps(network: Architecture, layer: int) -> Float[Tensor, "head d_model d_head"]:
    """What each head reads from the stream; heads that share values read the same."""
    basis = _basis(network)
    _, of_basis = network.keys_values(layer, basis)
    _, of_nothing = network.keys_values(layer, torch.zeros_like(basis[:1]))
    values = (of_basis - of_nothing).repeat_interleave(network.sizes.group, dim=1)
    return values.transpose(0, 1).float()


def _output_maps(network: Architecture, layer: int) -> Float[Tensor, "head d_head d_model"]:
    sizes = network.sizes
    basis = torch.eye(sizes.d_head, dtype=network.dtype, device=network.device)
    return network.write_heads(layer, basis[:, None].expand(-1, sizes.n_heads, -1)).float()


def _basis(network: Architecture) -> Float[Tensor, "d_model d_model"]:
    return _FAR * torch.eye(network.sizes.d_model, dtype=network.dtype, device=network.device)
