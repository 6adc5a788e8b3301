"""GPT-2 models out of Hugging Face folders and Lightning checkpoints, and the step at which each was saved.

Loading runs no code from a checkpoint: safetensors, or `torch.load(weights_only=True)`.
"""

import json
import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

_SIZES = ("n_layer", "n_head", "n_embd")
_ANCHOR = "wte.weight"  # the token embedding's name, which every GPT-2 ends in


def load_gpt2(
    checkpoint: Path | str, config: Path | str | None = None, prefix: str | None = None
) -> GPT2LMHeadModel:
    """The GPT-2 in a checkpoint, in fp32 and evaluation mode.

    A Hugging Face folder describes its model itself. In a Lightning `.ckpt` the weights are found by their names,
    under whatever prefix; the sizes come from `config`, else from hyper-parameters that hold `n_layer`, `n_head`
    and `n_embd` (directly, in a dict or in a GPT2Config).

    Args:
        checkpoint: a Hugging Face folder, a model's name on the hub, or a Lightning `.ckpt` file.
        config: a folder with a `config.json`, or that file; only for a `.ckpt`.
        prefix: where the GPT-2 is among the weights of a `.ckpt`, such as `net.gpt`; needed where it holds several.

    Raises:
        ValueError: no GPT-2 in it, or several; sizes that are not known or don't fit; a file that can't be read safely.
    """
    if not is_lightning(checkpoint):
        if config is not None or prefix is not None:
            given = "config" if config is not None else "prefix"
            raise ValueError(f"{given} can't take effect for {checkpoint}: only a Lightning .ckpt needs it")
        return _from_folder(checkpoint)
    content = _read(Path(checkpoint))
    found = _config(config, content, checkpoint)
    return _with_weights(found, _weights(content["state_dict"], prefix, checkpoint), checkpoint)


def is_lightning(checkpoint: Path | str) -> bool:
    """Whether this is a Lightning checkpoint: a file rather than a folder or a name."""
    return str(checkpoint).endswith(".ckpt") or Path(checkpoint).is_file()


def saved_step(checkpoint: Path | str) -> int | None:
    """The optimizer step at which a checkpoint was saved, None where nothing says so.

    Lightning: its `global_step`. Hugging Face: `trainer_state.json`, else the number that the name ends in.

    Raises:
        ValueError: a file that can't be read safely.
    """
    if is_lightning(checkpoint):
        return int(_read(Path(checkpoint))["global_step"])
    state = Path(checkpoint) / "trainer_state.json"
    if state.is_file():
        return int(json.loads(state.read_text())["global_step"])
    number = re.search(r"[-_=.](\d+)$", Path(checkpoint).name)
    return None if number is None else int(number[1])


def _from_folder(checkpoint: Path | str) -> GPT2LMHeadModel:
    folder = Path(checkpoint)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} has no config.json: give a Hugging Face model's folder or a Lightning .ckpt"
        )
    try:
        config, _ = GPT2Config.get_config_dict(str(checkpoint))
    except OSError as error:
        raise ValueError(
            f"{checkpoint} is no folder or file here, and the hub can't give it: {_first_line(error)}"
        ) from error
    if config.get("model_type") != "gpt2":
        raise ValueError(f"{checkpoint} holds a model of type {config.get('model_type')!r}, not a GPT-2")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return GPT2LMHeadModel.from_pretrained(str(checkpoint), dtype=torch.float32).eval()
    except OSError as error:
        raise ValueError(f"{checkpoint} can't be loaded: {_first_line(error)}") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _read(file: Path) -> dict[str, Any]:
    """What a Lightning checkpoint holds, without running code from it; the tensors stay on disk until used."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    try:
        with torch.serialization.safe_globals([GPT2Config, Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        culprit = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"a Python object ({culprit[1]})" if culprit else "a Python object"
        raise ValueError(
            f"{file} holds {what} that could run code, and is not opened: save the module without it, for instance "
            "with save_hyperparameters(ignore=[...])"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{file} is damaged or no checkpoint: {_first_line(error)}") from error
    missing = [
        key for key in ("state_dict", "global_step") if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise ValueError(f"{file} is no Lightning checkpoint: it has no {' and no '.join(missing)}")
    return content


def _config(config: Path | str | None, content: Mapping[str, Any], checkpoint: Path | str) -> GPT2Config:
    if config is not None:
        file = Path(config) / "config.json" if Path(config).is_dir() else Path(config)
        try:
            return GPT2Config.from_dict(json.loads(file.read_text()))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} is no model's config.json: {_first_line(error)}") from error
    known = _sizes(content.get("hyper_parameters", {}))
    if known is None:
        raise ValueError(
            f"{checkpoint} does not say how its GPT-2 is built: give a folder with its config.json, or save "
            f"{', '.join(_SIZES)} among the module's hyper-parameters"
        )
    return known


def _sizes(values: Any) -> GPT2Config | None:
    """The first GPT-2 configuration in hyper-parameters, at the top or one level below."""
    if isinstance(values, GPT2Config):
        return values
    if isinstance(values, Namespace):
        values = vars(values)
    if not isinstance(values, Mapping):
        return None
    if all(name in values for name in _SIZES):
        fields = GPT2Config().to_dict()
        return GPT2Config(**{name: value for name, value in values.items() if name in fields})
    return next((found for value in values.values() if (found := _sizes(value)) is not None), None)


def _weights(
    state: Mapping[str, torch.Tensor], prefix: str | None, checkpoint: Path | str
) -> dict[str, torch.Tensor]:
    """The weights of the one GPT-2, by the names that GPT2LMHeadModel gives them."""
    state = {
        name.replace("_orig_mod.", ""): value for name, value in state.items()
    }  # torch.compile adds these
    places = [name.removesuffix(_ANCHOR) for name in state if name == _ANCHOR or name.endswith("." + _ANCHOR)]
    if prefix is not None:
        wanted = prefix.rstrip(".") + "."
        places = [
            place for place in places if place.removesuffix("transformer.") == wanted or place == wanted
        ]
    if len(places) != 1:
        found = ", ".join(place.removesuffix("transformer.").rstrip(".") or "the top" for place in places)
        at = "" if prefix is None else f" at {prefix!r}"
        raise ValueError(
            f"{checkpoint} holds {f'several GPT-2s ({found}): say which by its prefix' if places else f'no GPT-2{at}'}"
        )
    [place] = places
    outer = place.removesuffix("transformer.")
    weights = {
        "transformer." + name.removeprefix(place): value
        for name, value in state.items()
        if name.startswith(place)
    }
    head = state.get(outer + "lm_head.weight")
    return weights if head is None else weights | {"lm_head.weight": head}


def _with_weights(
    config: GPT2Config, weights: Mapping[str, torch.Tensor], checkpoint: Path | str
) -> GPT2LMHeadModel:
    model = GPT2LMHeadModel(config).eval()
    if any(".lora_" in name or ".base_layer." in name for name in weights):
        raise ValueError(f"{checkpoint} holds LoRA adapters: merge them into the model before saving it")
    try:
        left = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        shape = str(error).splitlines()[1].strip()
        raise ValueError(f"{checkpoint} does not fit the configuration given: {shape}") from error
    missing = [
        name for name in left.missing_keys if name != "lm_head.weight" or not config.tie_word_embeddings
    ]
    buffers = (".attn.bias", ".attn.masked_bias")
    extra = [name for name in left.unexpected_keys if not name.endswith(buffers)]
    for names, what in ((missing, "lacks"), (extra, "has, beyond the configuration given,")):
        if names:
            raise ValueError(
                f"{checkpoint} {what} {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")
            )
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
