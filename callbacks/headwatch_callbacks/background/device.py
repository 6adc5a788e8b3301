"""Where passes in the background run, as users say it: `background=True` or `background="cuda:1"`."""

import os

import torch

_NOT_POSIX = "background={} can't take effect here: it shares memory in a way that only Linux and macOS know"


def background_device(background: bool | str) -> torch.device | None:
    """The device of `background=`: the CPU for True, none for False.

    Raises:
        ValueError: no name of a device, or an operating system without what this needs.
    """
    if background is False:
        return None
    if os.name != "posix":
        raise ValueError(_NOT_POSIX.format(repr(background)))
    try:
        return torch.device("cpu" if background is True else background)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"background={background!r} names no device: give True for this machine's cores, or a name such as"
            " 'cuda:1'"
        ) from error


def check_device(device: torch.device | None) -> None:
    """Refuse a GPU that this machine doesn't have.

    Raises:
        ValueError: there is no such GPU.
    """
    if device is None or device.type != "cuda":
        return
    found = torch.cuda.device_count()
    if (device.index or 0) >= found:
        raise ValueError(
            f"background={str(device)!r} can't take effect: this machine has {found} CUDA devices"
        )
