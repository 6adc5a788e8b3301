"""How much faster a machine multiplies in bfloat16 than in float32: measured once in a process."""

import time
from collections.abc import Callable
from functools import cache

import torch

_ROWS, _WIDTH = 512, 768
_REPEATS = 5


@cache
def speed_of_bf16(device: torch.device) -> float:
    """The ratio of speeds of a product as an MLP's; 1 where bfloat16 is no faster."""
    generator = torch.Generator(device).manual_seed(0)
    left = torch.randn(_ROWS, _WIDTH, device=device, generator=generator)
    right = torch.randn(_WIDTH, 4 * _WIDTH, device=device, generator=generator)
    narrow = left.bfloat16(), right.bfloat16()
    return max(1.0, _seconds(lambda: left @ right, device) / _seconds(lambda: narrow[0] @ narrow[1], device))


def _seconds(product: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few."""
    times = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        product()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
