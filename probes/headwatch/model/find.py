"""Finds the GPT-2 in whatever a user trains."""

from torch import nn
from transformers import GPT2LMHeadModel


def find_gpt2(module: nn.Module, name: str | None = None) -> GPT2LMHeadModel:
    """The GPT-2 in a module: itself, or the one inside LightningModule, peft or `torch.compile` wrappers.

    Example:
        >>> wrapped = torch.nn.ModuleDict({"net": model})
        >>> hw.find_gpt2(wrapped) is model
        True

    Args:
        module: anything that contains a `GPT2LMHeadModel`.
        name: the dotted path of the sub-module to look in, such as `net.gpt`; needed where there are several.

    Raises:
        ValueError: no GPT-2 there, several, or no sub-module of that name.
    """
    try:
        root = module if name is None else module.get_submodule(name)
    except AttributeError as error:
        children = ", ".join(child for child, _ in module.named_children())
        raise ValueError(f"model={name!r} names no sub-module; the top ones are: {children}") from error
    # A compiled module and its original are two modules that share one GPT-2.
    found = {id(m): (path, m) for path, m in root.named_modules() if isinstance(m, GPT2LMHeadModel)}
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if not found:
        raise ValueError(
            f"no GPT2LMHeadModel in {type(root).__name__}: headwatch watches Hugging Face's GPT-2 with its LM head"
        )
    paths = ", ".join(repr(path) for path, _ in found.values())
    raise ValueError(f"{len(found)} GPT-2 models in {type(root).__name__}; name one with model=: {paths}")
