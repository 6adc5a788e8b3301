import pytest
import torch
from torch import nn

from headwatch.model.eval_mode import eval_mode
from tests.models import random_ids, tiny_gpt2


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def partly_frozen() -> nn.Module:
    model = tiny_gpt2().train()
    model.transformer.h[1].eval()
    return model


def test_probing_evaluates_without_gradients_and_puts_every_module_back():
    model = partly_frozen()
    before = modes(model)
    assert len(set(before)) == 2
    with eval_mode(model):
        assert not any(modes(model))
        assert not torch.is_grad_enabled()
        assert torch.equal(model(random_ids(1, 4)).logits, model(random_ids(1, 4)).logits)
    assert modes(model) == before
    assert torch.is_grad_enabled()


def test_probing_puts_every_module_back_after_an_exception():
    model = partly_frozen()
    before = modes(model)
    with pytest.raises(KeyError, match="mine"), eval_mode(model):
        raise KeyError("mine")
    assert modes(model) == before
    assert torch.is_grad_enabled()


def test_probing_runs_no_compiled_code():
    model, calls = tiny_gpt2(), []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    compiled = torch.compile(model.transformer.ln_f, backend=backend)
    with eval_mode(model):
        compiled(torch.zeros(1, 32))
    assert not calls
