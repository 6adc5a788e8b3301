"""The model that is measured: GPT-2 small's shape with random weights, the same file for every process."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

SCALE = 3.0


def save_random_weights(path: Path, config: GPT2Config) -> None:
    """Write random weights, matrices `SCALE` times GPT-2's initial ones so that single heads have effects."""
    torch.manual_seed(0)
    weights = GPT2LMHeadModel(config).state_dict()
    weights.pop("lm_head.weight")
    for weight in weights.values():
        if weight.ndim == 2:
            weight.mul_(SCALE)
        else:
            weight.add_(0.05 * torch.randn_like(weight))
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)


def load(path: Path, config: GPT2Config) -> GPT2LMHeadModel:
    """The model with the weights of the file, in evaluation mode."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    weights = {name: weight.clone() for name, weight in load_file(path).items()}
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    return model.eval()
