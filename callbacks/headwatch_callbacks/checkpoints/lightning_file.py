"""A Lightning checkpoint, opened without running code from it."""

import pickle
import re
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config

from headwatch.reading import reading

_PARTS = ("state_dict", "global_step")
_AGAIN = "it is damaged or no checkpoint, copy it again"
_PIECE = 1 << 20


def read_lightning(file: Path) -> dict[str, Any]:
    """What a Lightning checkpoint holds; the tensors stay on disk until they are used.

    Raises:
        ValueError: no such file, no checkpoint, a damaged one, or one with objects that could run code.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    with reading(str(file), _AGAIN):
        try:
            content = _opened(file)
        except pickle.UnpicklingError as error:
            culprit = re.search(r"GLOBAL ([\w.]+)", str(error))
            if culprit is None:
                raise
            content = culprit[1]
    if isinstance(content, str):
        raise ValueError(
            f"{file} holds a Python object ({content}) that could run code, and is not opened: save the module "
            "without it, for instance with save_hyperparameters(ignore=[...])"
        )
    missing = [key for key in _PARTS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{file} is no Lightning checkpoint: it has no {' and no '.join(missing)}")
    return content


def check_sums(file: Path) -> None:
    """Hold each part of a checkpoint to the checksum that `torch.save` wrote with it; loading does not.

    Parts without one, as after `torch.serialization.set_crc32_options(False)`, are left alone.

    Raises:
        ValueError: a part was changed since, such as a weight by a bit.
    """
    with reading(str(file), _AGAIN), zipfile.ZipFile(file) as parts:
        for part in parts.infolist():
            if part.CRC:
                with parts.open(part) as stream:  # raises where the sum is another
                    while stream.read(_PIECE):
                        pass


def _opened(file: Path) -> Any:
    with torch.serialization.safe_globals([GPT2Config, Namespace]):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
