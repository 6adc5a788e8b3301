import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch.scores.copying import copying_score_of_maps, copying_scores
from tests.models import tiny_gpt2


def full_circuit_scores(model: GPT2LMHeadModel) -> Tensor:
    """Eigenvalues of the whole vocabulary-square map, from weights with the LayerNorms folded in by hand."""
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    d_model, heads = model.config.n_embd, model.config.n_head
    d_head = d_model // heads
    centre = np.eye(d_model) - 1 / d_model
    embed = weights["transformer.wte.weight"]
    unembed = weights.get("lm_head.weight", embed).T
    unembed = centre @ np.diag(weights["transformer.ln_f.weight"]) @ unembed
    unembed = unembed - unembed.mean(1, keepdims=True)
    scores = np.zeros((model.config.n_layer, heads))
    for layer in range(model.config.n_layer):
        block = f"transformer.h.{layer}"
        gain = np.diag(weights[f"{block}.ln_1.weight"])
        values = centre @ gain @ weights[f"{block}.attn.c_attn.weight"][:, 2 * d_model :]
        out = weights[f"{block}.attn.c_proj.weight"]
        for head in range(heads):
            part = slice(head * d_head, (head + 1) * d_head)
            eigenvalues = np.linalg.eigvals(embed @ values[:, part] @ out[part] @ unembed)
            scores[layer, head] = eigenvalues.sum().real / np.abs(eigenvalues).sum()
    return torch.tensor(scores, dtype=torch.float32)


@pytest.mark.parametrize("settings", [{}, {"tie_word_embeddings": False, "n_head": 2}])
def test_scores_equal_eigenvalues_of_the_full_circuit(settings: dict[str, object]) -> None:
    model = tiny_gpt2(**settings)
    torch.testing.assert_close(copying_scores(model), full_circuit_scores(model), atol=1e-4, rtol=0)


# peft reads an attribute that transformers has renamed.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_count() -> None:
    model = tiny_gpt2(seed=1)
    before = copying_scores(model)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["c_attn", "attn.c_proj"], fan_in_fan_out=True)
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(5))
    with_adapters = copying_scores(adapted)
    assert (with_adapters - before).abs().max() > 0.05
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(with_adapters, full_circuit_scores(merged), atol=1e-4, rtol=0)


def test_planted_copying_and_anticopying_heads() -> None:
    basis = torch.eye(6)[None]
    signs = torch.tensor([1.0, -1.0, 0.5])[:, None, None]
    scores = copying_score_of_maps(signs * basis, torch.eye(6), basis.expand(3, 6, 6))
    torch.testing.assert_close(scores, torch.tensor([1.0, -1.0, 1.0]))
    rotation = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])  # eigenvalues ±i: neither
    torch.testing.assert_close(
        copying_score_of_maps(rotation, torch.eye(2), torch.eye(2)[None]), torch.zeros(1)
    )
