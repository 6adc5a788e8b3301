"""A result in a file: an npz of plain arrays, one of which is JSON that says what they are. No pickle.

Tensors are stored bit by bit, so that NaN, infinities and bfloat16 come back as they were. The file is written
under another name first and then renamed: a reader never sees half of one.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

FORMAT = 1
_DESCRIPTION = "description"
_BITS = {torch.bfloat16: torch.int16}  # what numpy has no name for is stored as integers of the same size
_UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
)


def write(file: str | Path, values: Mapping[str, Any]) -> None:
    """Write tensors, and whatever else JSON can hold, under their names."""
    tensors = {name: value.detach().cpu() for name, value in values.items() if isinstance(value, Tensor)}
    description = {
        "what": "effects",
        "format": FORMAT,
        "dtypes": {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
        "fields": {name: value for name, value in values.items() if name not in tensors},
    }
    arrays = {
        name: tensor.view(_BITS.get(tensor.dtype, tensor.dtype)).numpy() for name, tensor in tensors.items()
    }
    arrays[_DESCRIPTION] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    file = Path(file)
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(part, file)


def read(file: str | Path, make: type[T]) -> T:
    """What `write` wrote, as the class that is made of these values.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds something else, or is of a newer headwatch.
    """
    try:
        with Path(file).open("rb") as stream:
            arrays = _arrays(stream)
            description = json.loads(arrays.pop(_DESCRIPTION).tobytes())
            newer = description["format"] > FORMAT
            if not newer:
                return make(**_values(arrays, description))
    except _UNREADABLE as error:
        raise ValueError(f"{file} is damaged or holds no effects of headwatch: {error}") from error
    raise ValueError(
        f"{file} has format {description['format']} and this headwatch reads up to {FORMAT}: install a newer one"
    )


def _arrays(stream: Any) -> dict[str, np.ndarray]:
    found = np.load(stream, allow_pickle=False)
    if not isinstance(found, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array")
    with found:
        return {name: found[name] for name in found.files}


def _values(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> dict[str, Any]:
    if description["what"] != "effects":
        raise ValueError(f"it holds {description['what']!r}")
    dtypes = {name: getattr(torch, dtype) for name, dtype in description["dtypes"].items()}
    tensors = {name: torch.from_numpy(arrays[name]).view(dtype) for name, dtype in dtypes.items()}
    return tensors | {name: _tuples(value) for name, value in description["fields"].items()}


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    return {name: _tuples(each) for name, each in value.items()} if isinstance(value, dict) else value
