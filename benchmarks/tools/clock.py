"""A stop-watch that waits for the GPU where there is one."""

import time

import torch


def now() -> float:
    """Seconds, once all work that was handed to a GPU is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
