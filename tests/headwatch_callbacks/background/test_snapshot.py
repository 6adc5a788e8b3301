"""A packed value comes back bit for bit, from memory that was copied to once."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from headwatch_callbacks.background.snapshot import from_bytes, load, pack, same, store, to_bytes
from tests.models import random_ids, random_pairs, tiny_gpt2

CPU = torch.device("cpu")
NOISE = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
TENSORS = {
    "float32": NOISE,
    "bfloat16": NOISE.bfloat16(),
    "int64": torch.arange(6).view(2, 3),
    "bool": NOISE > 0,
    "complex": torch.complex(NOISE, -NOISE),
    "a number": torch.tensor(3.5),
    "empty": torch.empty(0, 4),
    "transposed": NOISE.t(),
    "strided": NOISE[::2, 1:],
    "expanded": NOISE[:1].expand(4, 5),
    "nan": torch.tensor([float("nan"), float("-inf"), -0.0]),
}


def memory(*values, spare=0):
    return torch.full((sum(pack(value).nbytes for value in values) + spare,), 255, dtype=torch.uint8)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_bit_for_bit(name):
    value = TENSORS[name]
    there = memory(value)
    found = load(there, store(pack(value), there), CPU)
    assert (found.shape, found.dtype, bits(found)) == (value.shape, value.dtype, bits(value))


def test_a_model_computes_the_same_and_shares_what_it_shared():
    model = tiny_gpt2()
    model.transformer.wte.weight.requires_grad_(False)
    there = memory(model)
    stored = store(pack(model), there)
    found = load(there, stored, CPU)
    assert torch.equal(found(random_ids(2, 7)).logits, model(random_ids(2, 7)).logits)
    assert found.lm_head.weight is found.transformer.wte.weight
    assert not found.lm_head.weight.requires_grad
    assert found.transformer.ln_f.weight.requires_grad
    there[: stored.start] = 0
    assert found.transformer.ln_f.weight.eq(0).all(), "the weights are views, not copies"


def test_the_model_that_is_packed_stays_as_it_is():
    model, ids = tiny_gpt2(), random_ids(2, 7)
    before = copy.deepcopy(model)
    there = memory(model)
    store(pack(model), there)
    there.zero_()
    assert torch.equal(model(ids).logits, before(ids).logits)


def test_values_one_behind_the_other_do_not_touch():
    one, other = random_pairs(), tiny_gpt2()
    there = memory(one, other)
    first = store(pack(one), there)
    second = store(pack(other), there, first.stop)
    assert torch.equal(load(there, first, CPU).clean, one.clean)
    assert torch.equal(load(there, second, CPU).lm_head.weight, other.lm_head.weight)


def test_what_does_not_fit_is_refused_before_anything_is_written():
    there = torch.zeros(100, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\d+ bytes don't fit into the 100 that are left"):
        store(pack(NOISE), there)
    assert not there.any()


def test_a_snapshot_is_known_again_until_one_bit_changes():
    model = tiny_gpt2()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    there = memory(model)
    stored = store(pack(model), there)
    assert same(pack(model), there, stored)
    bias = model.transformer.h[2].mlp.c_fc.bias
    with torch.no_grad():
        bias[3] = torch.nextafter(bias[3], torch.tensor(9.0))
    assert not same(pack(model), there, stored)


def test_another_model_is_never_the_same():
    there = memory(tiny_gpt2(n_layer=4))
    stored = store(pack(tiny_gpt2()), there)
    assert not same(pack(tiny_gpt2(n_layer=2)), there, stored)
    assert not same(pack(tiny_gpt2().bfloat16()), there, stored)


def test_a_message_holds_its_tensors():
    value = {"pairs": random_pairs(), "noise": NOISE}
    found = from_bytes(to_bytes(value))
    assert torch.equal(found["noise"], NOISE)
    assert torch.equal(found["pairs"].corrupted, value["pairs"].corrupted)


class InTheScript(nn.Module):
    """What a user's script may define."""


def test_what_the_script_itself_defines_is_refused_by_its_name(monkeypatch):
    monkeypatch.setattr(InTheScript, "__module__", "__main__")
    with pytest.raises(
        pickle.PicklingError, match=r"InTheScript is defined in the script itself.*move it into a module"
    ):
        pack([InTheScript()])


def test_what_can_not_be_pickled_is_an_error():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pack(partial(lambda: None))
