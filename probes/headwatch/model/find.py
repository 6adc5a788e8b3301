"""Finds the network in whatever a user trains; the one place that knows which families there are."""

from torch import nn

from headwatch.model.architecture import Architecture
from headwatch.model.gpt2 import GPT2
from headwatch.registry import Registry

FAMILIES: Registry[type[Architecture]] = Registry("model family")
FAMILIES.register("gpt2", GPT2)


def find_architecture(module: nn.Module, name: str | None = None) -> Architecture:
    """The network in a module: itself, or the one inside LightningModule, peft or `torch.compile` wrappers.

    Example:
        >>> wrapped = torch.nn.ModuleDict({"net": model})
        >>> hw.find_architecture(wrapped).model is model
        True

    Args:
        module: anything that contains one network of a family in `FAMILIES`.
        name: the dotted path of the sub-module to look in, such as `net.gpt`; needed where there are several.

    Raises:
        ValueError: no network there, several, or no sub-module of that name.
    """
    try:
        root = module if name is None else module.get_submodule(name)
    except AttributeError as error:
        children = ", ".join(child for child, _ in module.named_children())
        raise ValueError(f"model={name!r} names no sub-module; the top ones are: {children}") from error
    # A compiled module and its original are two modules that share one network.
    found = {id(each): (path, each) for path, each in root.named_modules() if _family(each) is not None}
    if len(found) == 1:
        [(_, network)] = found.values()
        family = _family(network)
        assert family is not None
        return family(network)
    if not found:
        raise ValueError(
            f"no {' or '.join(family.class_name for family in FAMILIES.values())} in {type(root).__name__}: headwatch "
            "watches language models with their LM head, and knows no other family"
        )
    paths = ", ".join(repr(path) for path, _ in found.values())
    raise ValueError(f"{len(found)} language models in {type(root).__name__}; name one with model=: {paths}")


def _family(module: nn.Module) -> type[Architecture] | None:
    return next((family for family in FAMILIES.values() if family.recognises(module)), None)
