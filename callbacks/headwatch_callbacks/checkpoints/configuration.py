"""How a GPT-2 is built, out of a config.json or hyper-parameters, checked before anything of that size is built."""

import json
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import GPT2Config
from transformers.activations import ACT2FN

from headwatch.reading import reading

SIZES = ("n_layer", "n_head", "n_embd")
_ALL_SIZES = (*SIZES, "vocab_size", "n_positions")
_DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
# What decides what a GPT-2 computes; labels, pipelines and the like of a config.json do not.
_OWN = (*GPT2Config.__annotations__, *GPT2Config.attribute_map)
_DEEPEST = 8
_INSTEAD = "give the config.json that save_pretrained wrote"


def read_configuration(file: Path) -> GPT2Config:
    """The configuration in a config.json.

    Raises:
        ValueError: no such file, no JSON, of a model that is no GPT-2, or with a value that builds none.
    """
    if not file.is_file():
        raise ValueError(f"{file} is no file: {_INSTEAD}")
    with reading(str(file), _INSTEAD):
        values = json.loads(file.read_bytes())
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds {type(values).__name__}, not an object: {_INSTEAD}")
    if values.get("model_type", "gpt2") != "gpt2":
        raise ValueError(f"{file.parent} holds a model of type {values['model_type']!r}, not a GPT-2")
    if values.get("quantization_config") is not None:
        raise ValueError(f"{file} is of a quantised model: save it in floating point")
    return configuration(values, str(file))


def configuration(values: Mapping[str, Any], origin: str) -> GPT2Config:
    """The configuration that named values are.

    Args:
        values: by the names of a GPT2Config; others are left alone.
        origin: where they are from, for messages.

    Raises:
        ValueError: a value of which no GPT-2 can be built.
    """
    own = {name: values[name] for name in _OWN if name in values}
    with reading(origin, _INSTEAD):
        try:
            config = GPT2Config(**own)
        except StrictDataclassFieldValidationError as error:
            raise ValueError(str(error.__cause__)) from error
    problem = _problem(config)
    if problem is not None:
        raise ValueError(f"{origin}: {problem}")
    return config


def in_hyper_parameters(values: Any, origin: str, depth: int = 0) -> GPT2Config | None:
    """The first configuration in hyper-parameters, at the top or inside of one; None where there is none.

    Raises:
        ValueError: one that builds no GPT-2.
    """
    if isinstance(values, GPT2Config | Namespace):
        values = vars(values)
    if not isinstance(values, Mapping) or depth > _DEEPEST:
        return None
    if all(name in values for name in SIZES):
        return configuration(values, origin)
    inside = (in_hyper_parameters(value, origin, depth + 1) for value in values.values())
    return next((found for found in inside if found is not None), None)


def _problem(config: GPT2Config) -> str | None:
    """What keeps a configuration whose values are of the right types from building a GPT-2."""
    sizes = {name: getattr(config, name) for name in _ALL_SIZES}
    if config.n_inner is not None:
        sizes["n_inner"] = config.n_inner
    for name, size in sizes.items():
        if not 1 <= size < 2**31:
            return f"{name} is {size}, it must be a positive whole number"
    if config.n_embd % config.n_head:
        return f"n_embd {config.n_embd} must be divisible by n_head {config.n_head}"
    for name in _DROPOUTS:
        if not 0 <= getattr(config, name) <= 1:
            return f"{name} is {getattr(config, name)}, it must be from 0 to 1"
    if not (math.isfinite(config.layer_norm_epsilon) and config.layer_norm_epsilon > 0):
        return f"layer_norm_epsilon is {config.layer_norm_epsilon}, it must be a small positive number"
    if config.activation_function not in ACT2FN:
        return f"activation_function is {config.activation_function!r}; known: {', '.join(sorted(ACT2FN))}"
    if config.add_cross_attention:
        return "add_cross_attention is set: a GPT-2 that reads an encoder can't be probed alone"
    return None
