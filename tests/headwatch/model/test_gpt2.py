import copy

import pytest
import torch
from torch import nn

from headwatch.model.architecture import Sizes
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture
from headwatch.model.gpt2 import GPT2
from headwatch.scores.attention_patterns import attention_patterns
from tests.models import random_ids, tiny_gpt2
from tests.reference.functional import forward


class Task(nn.Module):
    """As a LightningModule holds its networks."""

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__()
        self.net = nn.ModuleDict(networks)
        self.loss = nn.CrossEntropyLoss()


def test_a_gpt2_is_found_in_itself_and_inside_a_module():
    model = tiny_gpt2()
    assert find_architecture(model).model is model
    assert find_architecture(Task(gpt=model)).model is model


def test_a_gpt2_is_found_through_torch_compile():
    model = tiny_gpt2()
    compiled = torch.compile(model, backend="eager")
    assert find_architecture(compiled).model is model
    assert find_architecture(Task(gpt=compiled)).model is model
    assert find_architecture(Task(gpt=compiled, same=model)).model is model


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft calls it
def test_a_gpt2_is_found_through_peft():
    peft = pytest.importorskip("peft")
    model = tiny_gpt2()
    config = peft.LoraConfig(target_modules=["c_attn"], r=2, fan_in_fan_out=True)
    assert (
        find_architecture(Task(gpt=torch.compile(peft.get_peft_model(model, config), backend="eager"))).model
        is model
    )


def test_no_gpt2_is_an_error_that_says_what_was_looked_for():
    with pytest.raises(
        ValueError, match="no GPT2LMHeadModel in Linear: headwatch watches language models with their LM head"
    ):
        find_architecture(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no GPT2LMHeadModel in GPT2Model"):
        find_architecture(tiny_gpt2().transformer)


def test_several_gpt2s_need_a_name():
    student, teacher = tiny_gpt2(seed=0), tiny_gpt2(seed=1)
    task = Task(student=student, teacher=teacher)
    with pytest.raises(
        ValueError, match=r"2 language models in Task; .*model=: 'net.student', 'net.teacher'"
    ):
        find_architecture(task)
    assert find_architecture(task, "net.teacher").model is teacher


def test_a_name_that_leads_nowhere_is_an_error_that_lists_the_top():
    with pytest.raises(
        ValueError, match=r"model='net\.tutor' names no sub-module; the top ones are: net, loss"
    ):
        find_architecture(Task(gpt=tiny_gpt2()), "net.tutor")
    with pytest.raises(ValueError, match="no GPT2LMHeadModel in CrossEntropyLoss"):
        find_architecture(Task(gpt=tiny_gpt2()), "loss")


@pytest.mark.parametrize("n_inner", [None, 48])
def test_the_sizes_are_those_of_the_weights(n_inner):
    model = tiny_gpt2(n_inner=n_inner)
    weights = model.state_dict()
    assert GPT2(model).sizes == Sizes(
        n_layers=3,
        n_heads=4,
        n_kv_heads=4,
        d_head=8,
        d_model=weights["transformer.wte.weight"].shape[1],
        d_mlp=weights["transformer.h.0.mlp.c_fc.weight"].shape[1],
        n_positions=weights["transformer.wpe.weight"].shape[0],
        d_vocab=weights["lm_head.weight"].shape[0],
    )


def test_a_heads_values_are_read_from_the_stream():
    model, ids = tiny_gpt2(), random_ids(2, 6)
    with torch.no_grad():
        _, expected = forward(model, ids)
        _, values = GPT2(model).keys_values(1, expected["blocks.1.hook_resid_pre"])
    torch.testing.assert_close(values, expected["blocks.1.attn.hook_v"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["blocks.2.attn.hook_z", "hook_embed", "ln_final.hook_scale"])
def test_a_name_that_the_model_has_is_passed_on(name):
    assert GPT2(tiny_gpt2()).check_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.3.attn.hook_z", r"blocks\.3\.attn\.hook_z: the model has layers 0 to 2"),
        ("blocks.1.mlp.hook_mid", "a GPT2 has no 'mid'; use 'pre' or 'post'"),
    ],
)
def test_a_name_that_the_model_lacks_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        GPT2(tiny_gpt2()).check_name(name)


def test_left_padding_needs_the_positions_that_are_given_here():
    model, ids = tiny_gpt2(), random_ids(1, 9)
    mask = torch.tensor([[0] * 4 + [1] * 5])
    with torch.no_grad():
        alone = model(ids[:, 4:]).logits
        padded = GPT2(model).forward(ids, mask)[:, 4:]
        without_positions = model(ids, attention_mask=mask).logits[:, 4:]
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-5)
    assert (without_positions - alone).abs().max() > 1e-2  # what makes position_ids necessary


def test_gpt2_ignores_a_head_mask_without_a_word():
    # Why ablation replaces z by hooks: the published recipe changes nothing.
    model, ids = tiny_gpt2(), random_ids(1, 5)
    with torch.no_grad():
        assert torch.equal(model(ids, head_mask=torch.zeros(3, 4)).logits, model(ids).logits)


@pytest.mark.filterwarnings("ignore:.*output_attentions.*")
def test_maps_come_out_where_output_attentions_gives_none():
    model, ids = tiny_gpt2(attn_implementation="sdpa"), random_ids(2, 5)
    with torch.no_grad():
        assert not [each for each in model(ids, output_attentions=True).attentions or () if each is not None]
        _, expected = forward(model, ids)
    maps = attention_patterns(model, ids)
    stacked = torch.stack([expected[f"blocks.{layer}.attn.hook_pattern"] for layer in range(3)], dim=1)
    torch.testing.assert_close(maps, stacked, rtol=1e-5, atol=1e-5)
    assert model.config._attn_implementation == "sdpa"


def test_finding_and_probing_change_no_weight():
    model = tiny_gpt2()
    before = copy.deepcopy(model.state_dict())
    with eval_mode(find_architecture(Task(gpt=model)).model):
        GPT2(model).forward(random_ids(1, 4), None)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
