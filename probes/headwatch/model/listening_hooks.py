"""Hooks that stay on a model while it trains and only listen: copies, files and compiled code are as without them.

Each forward of a module costs one Python call more. A copy of the model, or a file of it, has a function of the
standard library in a hook's place, which does nothing and can be loaded where headwatch is not installed.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, no_type_check
from weakref import WeakSet

import torch
from torch import nn
from torch._dynamo.callback import callback_handler
from torch._dynamo.eval_frame import skip_code
from torch.utils.hooks import RemovableHandle

_listened_to: WeakSet[nn.Module] = WeakSet()
_taken_off: list[tuple[nn.Module, int, "ListeningHook"]] = []


class ListeningHook:
    """Calls a function with a module's arguments before its forward; see `listen_before`.

    Args:
        listen: takes the module, its positional and its keyword arguments; returns the positional ones to go on
            with, the same values, or None.
    """

    def __init__(self, listen: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._listen = torch.compiler.disable(listen)

    # Whatever wraps this call is compiled between graphs: the tests' type checks would be.
    @no_type_check
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the module goes on with; None, for what it was given, in code that is being compiled."""
        if torch.compiler.is_compiling():
            return None
        heard = self._listen(module, args, kwargs)
        return None if heard is None else (heard, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and files listen to nobody, and must not need this package.
        return getattr, (nullcontext(), "__exit__")


# Between two graphs, where modules run as they stand, this call would be compiled as a function of its own.
skip_code(ListeningHook.__call__.__code__)


def listen_before(
    module: nn.Module, listen: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
) -> RemovableHandle:
    """Call a function before each forward of a module that no compiled code runs, until the handle is removed."""
    for callbacks, callback in (
        (callback_handler.start_callbacks, _take_off),
        (callback_handler.end_callbacks, _put_back),
    ):
        if callback not in callbacks:
            callbacks.append(callback)
    _listened_to.add(module)
    return module.register_forward_pre_hook(ListeningHook(listen), with_kwargs=True)


def only_listens(hook: Callable[..., Any]) -> bool:
    """Whether a hook is one of these, or what stands in its place in a copy."""
    return isinstance(hook, ListeningHook) or getattr(hook, "__func__", None) is nullcontext.__exit__


def _take_off(*_: Any) -> None:
    """Before a graph is traced: a hook that is seen there becomes a condition under which the graph may run."""
    for module in _listened_to:
        for number, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, ListeningHook):
                del module._forward_pre_hooks[number], module._forward_pre_hooks_with_kwargs[number]
                _taken_off.append((module, number, hook))


def _put_back(*_: Any) -> None:
    while _taken_off:
        module, number, hook = _taken_off.pop(0)
        # With this switch off, "no hook was there" is such a condition too.
        if torch._dynamo.config.skip_nnmodule_hook_guards:
            module._forward_pre_hooks[number] = hook
            module._forward_pre_hooks_with_kwargs[number] = True
