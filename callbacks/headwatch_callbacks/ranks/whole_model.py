"""A whole model where each process holds a part of every weight, as PyTorch's `fully_shard` (FSDP2) leaves it.

Memory: each process has a second, whole copy of the weights for as long as a pass takes. Cost: one gathering of all
weights a pass. The sharded model itself is only read, and runs nothing.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds only a part of some weights."""
    return any(_is_part(parameter) for parameter in model.parameters())


@torch.no_grad()
def whole_model(model: nn.Module) -> nn.Module:
    """The model, or where it is sharded, a whole copy of it in evaluation mode; all processes must call this.

    Hooks of the user's stay on the copy; those that gather and scatter weights are left out. Weights that aren't
    sharded are shared with it.
    """
    if not is_sharded(model):
        return model
    with torch.inference_mode(False):
        return _copy(model)


def _copy(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(each): _whole(each) for each in model.parameters()}
    for module in model.modules():
        memo |= {id(hook): hook for hooks in _hooks_of(module) for hook in hooks.values()}
    shells = [(module, _shell(module)) for module in model.modules() if _is_fsdp(module)]
    memo |= {id(module): shell for module, shell in shells}
    for module, shell in shells:
        own = {name: value for name, value in module.__getstate__().items() if not name.startswith("__")}
        shell.__setstate__(copy.deepcopy(own, memo))  # without `fully_shard`'s state
    whole: nn.Module = copy.deepcopy(model, memo)
    for module in whole.modules():
        _drop_fsdp_hooks(module)
    return whole.eval()


def _is_part(value: Tensor) -> bool:
    return hasattr(value, "full_tensor")  # a DTensor, whose module takes long to import


def _whole(parameter: Any) -> nn.Parameter:
    if not _is_part(parameter):
        return parameter
    return nn.Parameter(parameter.full_tensor(), requires_grad=parameter.requires_grad)


def _is_fsdp(module: nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)


def _shell(module: nn.Module) -> Any:
    """An empty module of the class that `fully_shard` made another one of."""
    from torch.distributed.fsdp import FSDPModule

    own = next(cls for cls in type(module).__mro__ if not issubclass(cls, FSDPModule))
    shell: Any = own.__new__(own)
    return shell


def _hooks_of(module: nn.Module) -> list[dict[Any, Any]]:
    return [
        value for name, value in vars(module).items() if name.endswith("_hooks") and isinstance(value, dict)
    ]


def _drop_fsdp_hooks(module: nn.Module) -> None:
    for hooks in _hooks_of(module):
        for key, hook in list(hooks.items()):
            if getattr(hook, "__module__", "").startswith("torch.distributed.fsdp"):
                del hooks[key]
