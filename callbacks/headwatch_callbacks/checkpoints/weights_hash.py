"""One hash of all of a model's weights: two models of one hash compute the same."""

import hashlib

import torch
from torch import nn


def weights_hash(model: nn.Module) -> str:
    """The SHA-256 of a model's weights: the names, types, shapes and bytes of its state, in the order of the names.

    It is the same on every device and in every process. Weights that are tied count under each of their names, so
    that a model whose output weights are tied has the hash of its copy in which they are equal.

    Example:
        >>> weights_hash(model)
        '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b'
    """
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(repr((name, str(weight.dtype), tuple(weight.shape))).encode())
        found.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
