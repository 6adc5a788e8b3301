"""The files of a Hugging Face model's folder, read without running code from them."""

import json
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

from headwatch.reading import reading, reason

_DESCRIBED = ("config.json", "model*.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_AGAIN = "save the model again with save_pretrained, or copy its folder again"
_WAIT_S = 10.0


def model_folder(checkpoint: str) -> Path:
    """The folder of a model: that of this path, or where the files of a name on the hub are.

    Raises:
        ValueError: neither is there.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    try:
        found = _download(checkpoint, _DESCRIBED)
        return found if any(found.glob("model*.safetensors")) else _download(checkpoint, _PICKLED)
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors, those of names ValueErrors
        raise ValueError(
            f"{checkpoint} is no folder or file here, and the hub can't give it: {reason(error)}"
        ) from error


def folder_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights in a folder, from safetensors where there are such files.

    Raises:
        ValueError: none are there, or a file is damaged or holds what could run code.
    """
    weights: dict[str, torch.Tensor] = {}
    for file in _weight_files(folder):
        if not file.is_file():
            raise ValueError(f"{file} does not exist, though its folder's index names it: {_AGAIN}")
        with reading(str(file), _AGAIN):
            weights |= load_file(file) if file.suffix == ".safetensors" else _unpickled(file)
    return weights


def _download(name: str, patterns: tuple[str, ...]) -> Path:
    return Path(snapshot_download(name, allow_patterns=list(patterns), etag_timeout=_WAIT_S))


def _unpickled(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, map_location="cpu", weights_only=True))


def _weight_files(folder: Path) -> list[Path]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            with reading(str(index), _AGAIN):
                names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
                return [folder / Path(name).name for name in names]
    raise ValueError(f"{folder} holds no weights (no model.safetensors, no pytorch_model.bin): {_AGAIN}")
