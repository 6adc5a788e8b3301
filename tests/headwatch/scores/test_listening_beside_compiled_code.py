"""Listening leaves what torch.compile compiled as it would be: the same graphs, guards, losses and weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch.scores.gradient_importance import GradientHeadImportance
from tests.models import random_ids, tiny_gpt2

# Dynamo looks at `.grad` of every tensor it meets.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)

Step = Callable[[Tensor], Tensor]


class Counting:
    """A backend that keeps each graph that it is given."""

    def __init__(self) -> None:
        self.graphs: list[list[str]] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
        self.graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward


def loss_of(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    return model(ids, attention_mask=torch.ones_like(ids)).logits.float().logsumexp(-1).mean()


def forward_compiled(model: GPT2LMHeadModel, backend: Any) -> Step:
    model.forward = torch.compile(model.forward, backend=backend)
    return lambda ids: loss_of(model, ids)


def closure_compiled(model: GPT2LMHeadModel, backend: Any) -> Step:
    return torch.compile(lambda ids: loss_of(model, ids), backend=backend)


def fullgraph(model: GPT2LMHeadModel, backend: Any) -> Step:
    model.transformer.forward = torch.compile(model.transformer.forward, backend=backend, fullgraph=True)
    return lambda ids: loss_of(model, ids)


def module_compiled(model: GPT2LMHeadModel, backend: Any) -> Step:
    model.compile(backend=backend)
    return lambda ids: loss_of(model, ids)


def wrapped(model: GPT2LMHeadModel, backend: Any) -> Step:
    compiled = torch.compile(model, backend=backend)
    return lambda ids: loss_of(compiled, ids)


def with_graph_breaks(model: GPT2LMHeadModel, backend: Any) -> Step:
    """Modules between two graphs run as they stand, hooks included."""
    attention = model.transformer.h[1].attn
    attention.c_attn.forward = torch.compiler.disable(attention.c_attn.forward)
    return closure_compiled(model, backend)


def with_the_backward_inside(model: GPT2LMHeadModel, backend: Any) -> Step:
    """The backward pass of a part that isn't compiled starts in code that is."""
    model.transformer.forward = torch.compiler.disable(model.transformer.forward)

    def step(ids: Tensor) -> Tensor:
        loss = loss_of(model, ids)
        loss.backward()
        return loss.detach()

    return torch.compile(step, backend=backend)


FORMS = [
    forward_compiled,
    closure_compiled,
    fullgraph,
    module_compiled,
    wrapped,
    with_graph_breaks,
    with_the_backward_inside,
]
HEARD_BESIDE = [with_graph_breaks, with_the_backward_inside]


def train(form: Callable[..., Step], when: str | None, backend: Any) -> dict[str, Any]:
    """Three steps with dropout, listened to from before the first or the second one up to the third."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    model = tiny_gpt2(attn_pdrop=0.1, resid_pdrop=0.1, embd_pdrop=0.1).train()
    importance, handles = GradientHeadImportance(3, 4), []
    step = form(model, backend)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for number in range(3):
        if when is not None and when.startswith(("before", "later")[min(number, 1)]) and not handles:
            handles = importance.attach(model)
            if when == "before, then reset":
                torch._dynamo.reset()
        if number == 2:
            for handle in handles:
                handle.remove()
        optimizer.zero_grad()
        losses.append(step(random_ids(3, 8, seed=number)))
        if losses[-1].requires_grad:
            losses[-1].backward()
        optimizer.step()
    gradients = [parameter.grad for parameter in model.parameters()]
    tensors = [*(loss.detach() for loss in losses), *gradients, *model.parameters()]
    return {"tensors": tensors, "tokens": importance.tokens.tolist(), "frames": frames()}


def frames() -> dict[str, int]:
    return dict(torch._dynamo.utils.counters["frames"])


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_compiled_code_is_the_same(form: Callable[..., Step]) -> None:
    without = Counting()
    expected = train(form, None, without)
    assert without.graphs
    for when in ("before",) if form in HEARD_BESIDE else ("before", "later"):
        backend = Counting()
        found = train(form, when, backend)
        assert backend.graphs == without.graphs
        assert found["tokens"] == [0, 0, 0] or form in HEARD_BESIDE
        assert found["frames"] == expected["frames"]
        assert_same(found["tensors"], expected["tensors"])


def test_after_a_reset_of_dynamo_the_graph_is_still_the_same() -> None:
    without, backend = Counting(), Counting()
    expected = train(fullgraph, None, without)
    found = train(fullgraph, "before, then reset", backend)
    assert_same(found["tensors"], expected["tensors"])
    assert backend.graphs[0] == without.graphs[0]


def test_what_runs_as_it_stands_beside_compiled_code_is_heard() -> None:
    assert train(with_the_backward_inside, "before", "eager")["tokens"] == [48, 48, 48]


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_inductor_makes_the_same_numbers() -> None:
    found, expected = (train(closure_compiled, when, "inductor") for when in ("before", None))
    assert_same(found["tensors"], expected["tensors"])


def test_a_compiled_function_elsewhere_keeps_nobody_from_listening() -> None:
    model = tiny_gpt2()
    importance = GradientHeadImportance(3, 4)
    elsewhere = torch.compile(lambda logits: logits.square().mean(), backend="eager")
    with importance.attached(model):
        for length in (5, 6, 7):
            elsewhere(model(random_ids(2, length)).logits).backward()
    assert importance.tokens.tolist() == [36, 36, 36]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_where_absent_hooks_are_guarded_too_nothing_is_compiled_twice() -> None:
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        expected, found = (train(forward_compiled, when, "eager") for when in (None, "before"))
    assert found["frames"] == expected["frames"]
    assert_same(found["tensors"], expected["tensors"])


def test_a_user_hook_is_compiled_as_ever() -> None:
    results = []
    for listening in (False, True):
        torch._dynamo.reset()
        model = tiny_gpt2()
        handle = model.transformer.h[0].attn.c_proj.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
        if listening:
            GradientHeadImportance(3, 4).attach(model)
        results.append(forward_compiled(model, "eager")(random_ids(2, 5)))
        handle.remove()
    assert torch.equal(*results)
