"""How much memory a process holds and has held at most, from Linux's own count or from CUDA's."""

import re
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _field(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def start(device: str) -> int:
    """Bytes held now; forgets what was held before. Resident memory on a CPU, tensors on a GPU.

    Raises:
        OSError: not on Linux.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    _CLEAR.write_text("5")
    return _field("VmRSS")


def peak(device: str) -> int:
    """The most bytes held since `start`."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else _field("VmHWM")
