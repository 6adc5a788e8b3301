"""What a user's hooks do to a model during forwards of ours is undone after them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import headwatch as hw
from headwatch.model.kept_state import kept_state
from tests.models import random_ids, random_pairs, tiny_gpt2


class Noted(nn.Module):
    """A module with state of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(3))
        self.register_buffer("largest", torch.full((2,), torch.nan), persistent=False)
        self.register_buffer("unset", None)
        self.count, self.cached = 5, None
        self.inner = nn.Linear(2, 2)


def add_in_place(module: Noted) -> None:
    module.calls += 1


def rebind(module: Noted) -> None:
    module.calls = module.calls + 1
    module.largest = torch.ones(2)
    module.unset = torch.ones(2)


def rebind_then_write(module: Noted) -> None:
    module.largest.fill_(7.0)
    module.largest = torch.ones(2)


def count_in_python(module: Noted) -> None:
    module.count += 1
    module.inner.count = 1
    module.cached = torch.ones(2)


def delete(module: Noted) -> None:
    del module.calls, module.count


def register(module: Noted) -> None:
    module.inner.register_buffer("found", torch.ones(2))


def state(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {name: value.clone() for name, value in module.named_buffers()}
    for name, part in module.named_modules():
        found |= {f"{name}.{key}": value for key, value in vars(part).items() if not key.startswith("_")}
    return found


@pytest.mark.parametrize(
    "change", [add_in_place, rebind, rebind_then_write, count_in_python, delete, register]
)
@pytest.mark.parametrize("fails", [False, True])
def test_state_is_put_back(change: Callable[[Noted], None], fails: bool) -> None:
    module = Noted()
    before, buffers = state(module), dict(module.named_buffers())
    try:
        with kept_state(module):
            change(module)
            if fails:
                raise KeyError
    except KeyError:
        pass
    after = state(module)
    assert after.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(after[name], value, equal_nan=True)
        else:
            assert after[name] is value
    assert all(value is buffers[name] for name, value in module.named_buffers())


def test_what_nobody_wrote_to_is_not_written_to() -> None:
    module, weight = Noted(), torch.ones(2, requires_grad=True)
    product = (module.largest * weight).sum()
    with kept_state(module):
        pass
    product.backward()  # raises where a tensor of the graph was written to in between


def test_buffers_made_in_inference_mode_are_put_back() -> None:
    with torch.inference_mode():
        module = Noted()
        with kept_state(module):
            module.calls += 1
    with kept_state(module), torch.inference_mode():
        module.calls += 1
    assert module.calls == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: hw.ablate_heads(model, random_pairs()),
        lambda model: hw.patch_activations(model, random_pairs(), site="z"),
        lambda model: hw.attribute_heads(model, random_pairs()),
        lambda model: hw.estimate_heads(model, random_pairs()),
    ],
)
def test_hooks_that_count_do_so_in_the_users_own_forwards_only(ask: Callable[[nn.Module], object]) -> None:
    model, seen = tiny_gpt2(), []
    attention = model.transformer.h[1].attn
    attention.register_buffer("calls", torch.tensor(0))

    def count(module: Any, _: Any) -> None:
        module.calls += 1
        seen.append(module)

    attention.register_forward_pre_hook(count)
    model(random_ids(2, 5))
    ask(model)
    assert len(seen) > 1  # hooks run as ever, and what they keep elsewhere is theirs
    assert attention.calls == 1
