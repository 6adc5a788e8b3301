"""The weights of one GPT-2 among others, and the model that they and a configuration make.

Names, shapes and types are compared before a model of that size takes any memory.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headwatch.reading import reading

_ANCHOR = "wte.weight"  # the token embedding's name, which every GPT-2 ends in
_OLD_BUFFERS = (".attn.bias", ".attn.masked_bias")
_LAYER = re.compile(r"transformer\.h\.([0-9]{1,9})\.")


def gpt2_weights(state: Any, prefix: str | None, checkpoint: str) -> dict[str, torch.Tensor]:
    """The weights of the one GPT-2 in a state dict, by the names that GPT2LMHeadModel gives them.

    Args:
        state: the state dict.
        prefix: where the GPT-2 is, such as `net.gpt`; None where there is just one.
        checkpoint: for messages.

    Raises:
        ValueError: no state dict, none or several GPT-2s in it, or a weight that is no dense floating-point tensor.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{checkpoint} holds no weights by name: its state_dict is {_kind(state)}")
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}  # of torch.compile
    place = _place(list(state), prefix, checkpoint)
    weights = {
        "transformer." + name.removeprefix(place): value
        for name, value in state.items()
        if name.startswith(place) and not name.endswith(_OLD_BUFFERS)
    }
    # Where the state begins with the transformer's own names, its output weights stand beside them.
    head = state.get(place.removesuffix("transformer.") + "lm_head.weight")
    weights.pop("transformer.lm_head.weight", None)
    weights |= {} if head is None else {"lm_head.weight": head}
    for name, weight in weights.items():
        _check_tensor(name, weight, checkpoint)
    return weights


def model_with(
    config: GPT2Config, weights: Mapping[str, torch.Tensor], checkpoint: str, described_by: str
) -> GPT2LMHeadModel:
    """The model of a configuration with weights from a checkpoint, in fp32 and evaluation mode.

    Args:
        config: how it is built.
        weights: from `gpt2_weights`.
        checkpoint: where the weights are from, for messages.
        described_by: where the configuration is from, for messages.

    Raises:
        ValueError: weights of other sizes, too few or too many.
    """
    if any(".lora_" in name or ".base_layer." in name for name in weights):
        raise ValueError(f"{checkpoint} holds LoRA adapters: merge them into the model before saving it")
    _check_sizes(config, weights, checkpoint, described_by)
    instead = "give the configuration that this model was built with"
    with reading(described_by, instead), torch.device("meta"):
        model = GPT2LMHeadModel(config)
    _check_names(model, weights, checkpoint, described_by)
    _check_tied(config, weights, checkpoint, described_by)
    with reading(checkpoint, "copy it again"):
        model.to_empty(device="cpu")
        model.tie_weights()
        model.load_state_dict(weights, strict=False)
    return model.float().eval()


def _place(names: list[str], prefix: str | None, checkpoint: str) -> str:
    """What stands before the names of the transformer's weights."""
    places = [name.removesuffix(_ANCHOR) for name in names if name == _ANCHOR or name.endswith("." + _ANCHOR)]
    if prefix is not None:
        wanted = prefix.rstrip(".") + "."
        places = [at for at in places if wanted in (at.removesuffix("transformer."), at)]
    if len(places) != 1:
        found = ", ".join(at.removesuffix("transformer.").rstrip(".") or "the top" for at in places)
        at = "" if prefix is None else f" at {prefix!r}"
        raise ValueError(
            f"{checkpoint} holds {f'several GPT-2s ({found}): say which by its prefix' if places else f'no GPT-2{at}'}"
        )
    return places[0]


def _check_tensor(name: str, weight: Any, checkpoint: str) -> None:
    if not isinstance(weight, torch.Tensor):
        raise ValueError(f"{checkpoint}: {name} is {_kind(weight)}, not a tensor")
    if weight.layout != torch.strided or weight.is_meta or weight.is_quantized:
        what = "on no device" if weight.is_meta else "sparse or quantised"
        raise ValueError(f"{checkpoint}: {name} is {what}: save its numbers as a dense tensor")
    if not weight.is_floating_point():
        raise ValueError(f"{checkpoint}: {name} is of type {weight.dtype}, not of floating point")


def _check_sizes(
    config: GPT2Config, weights: Mapping[str, torch.Tensor], checkpoint: str, described_by: str
) -> None:
    """Before a model is built: one of a thousand million layers would take for ever even without memory."""
    layers = {int(found[1]) for name in weights if (found := _LAYER.match(name))}
    held = {"n_layer": len(layers)} | _shape(weights, "wte.weight", ("vocab_size", "n_embd"))
    held |= _shape(weights, "wpe.weight", ("n_positions", "n_embd"))
    held |= _shape(weights, "h.0.mlp.c_fc.weight", ("n_embd", "n_inner"))
    stated = {name: getattr(config, name) for name in held}
    stated["n_inner"] = stated.get("n_inner") or 4 * config.n_embd
    for name, size in held.items():
        if stated[name] != size:
            raise ValueError(
                f"{checkpoint} does not fit {described_by}: its weights have {name} {size}, "
                f"which is {stated[name]} there"
            )


def _shape(weights: Mapping[str, torch.Tensor], name: str, sizes: tuple[str, str]) -> dict[str, int]:
    weight = weights.get(f"transformer.{name}")
    return dict(zip(sizes, weight.shape, strict=True)) if weight is not None and weight.ndim == 2 else {}


def _check_names(
    model: GPT2LMHeadModel, weights: Mapping[str, torch.Tensor], checkpoint: str, described_by: str
) -> None:
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    optional = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    missing = [name for name in wanted if name not in weights and name not in optional]
    extra = [name for name in weights if name not in wanted]
    for names, what in ((missing, "lacks"), (extra, f"has, beyond {described_by},")):
        if names:
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise ValueError(f"{checkpoint} {what} {names[0]}{more}")
    for name, weight in weights.items():
        if tuple(weight.shape) != wanted[name]:
            raise ValueError(
                f"{checkpoint} does not fit {described_by}: {name} is of shape {tuple(weight.shape)}, "
                f"which is {wanted[name]} there"
            )


def _check_tied(
    config: GPT2Config, weights: Mapping[str, torch.Tensor], checkpoint: str, described_by: str
) -> None:
    """Tied, one of two different matrices would be dropped."""
    head, embedding = weights.get("lm_head.weight"), weights["transformer.wte.weight"]
    if config.tie_word_embeddings and head is not None and not _same(head, embedding):
        raise ValueError(
            f"{checkpoint} has output weights of its own, but {described_by} ties them to the embedding: "
            "set tie_word_embeddings to false"
        )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    # A diverged model's NaN is equal to itself here.
    return one.data_ptr() == other.data_ptr() or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
