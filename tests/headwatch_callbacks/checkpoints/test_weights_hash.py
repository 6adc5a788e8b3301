"""The hash of a model's weights: the same wherever they are, and another one for every change."""

import hashlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from headwatch_callbacks.checkpoints.load import load_gpt2
from headwatch_callbacks.checkpoints.weights_hash import weights_hash
from tests.models import tiny_gpt2


class Weights(nn.Module):
    """A module whose state is the tensors given."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def test_it_is_the_sha256_of_names_types_shapes_and_bytes():
    hashed = b"('a', 'torch.float32', (2,))" + bytes.fromhex("0000803f00000040")  # 1.0 and 2.0
    hashed += b"('b', 'torch.int8', (1, 1))" + bytes([7])
    module = Weights(b=torch.tensor([[7]], dtype=torch.int8), a=torch.tensor([1.0, 2.0]))
    assert weights_hash(module) == hashlib.sha256(hashed).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        Weights(b=torch.zeros(2, 3)),
        Weights(a=torch.zeros(3, 2)),
        Weights(a=torch.zeros(2, 3, dtype=torch.int32)),
        Weights(a=torch.zeros(2, 3, dtype=torch.bfloat16)),
        Weights(a=torch.zeros(2, 3).index_fill(1, torch.tensor(2), 1e-45)),
        Weights(a=torch.zeros(2, 3), b=torch.zeros(0)),
    ],
    ids=["name", "shape", "type", "width", "one value", "one more"],
)
def test_every_change_changes_it(other):
    assert weights_hash(other) != weights_hash(Weights(a=torch.zeros(2, 3)))


def test_how_a_tensor_lies_in_memory_does_not_matter():
    straight, turned = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).T.contiguous().T
    assert not turned.is_contiguous()
    assert weights_hash(Weights(a=turned)) == weights_hash(Weights(a=straight))


@pytest.mark.parametrize("number", [torch.tensor(1.5), torch.tensor(True), torch.tensor(2.0).bfloat16()])
def test_numbers_without_axes_are_hashed_too(number):
    assert weights_hash(Weights(a=number)) != weights_hash(Weights(a=torch.zeros_like(number)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_is_the_same_on_every_device():
    model = tiny_gpt2()
    there = weights_hash(model)
    assert weights_hash(model.cuda()) == there


def test_it_is_the_same_in_every_process():
    program = (
        "from tests.models import tiny_gpt2\n"
        "from headwatch_callbacks.checkpoints.weights_hash import weights_hash\n"
        "print(weights_hash(tiny_gpt2(seed=3)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == weights_hash(tiny_gpt2(seed=3))


def test_it_is_the_same_once_saved_and_loaded(tmp_path):
    model = tiny_gpt2()
    model.save_pretrained(tmp_path / "checkpoint-1")
    state = {f"net.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 1}, tmp_path / "last.ckpt")
    from_folder = load_gpt2(tmp_path / "checkpoint-1")
    from_lightning = load_gpt2(tmp_path / "last.ckpt", config=tmp_path / "checkpoint-1")
    assert weights_hash(from_folder) == weights_hash(from_lightning) == weights_hash(model)


def test_one_step_of_training_changes_it():
    model = tiny_gpt2()
    before = weights_hash(model)
    with torch.no_grad():
        model.transformer.h[2].mlp.c_fc.bias[0] += 1e-3
    assert weights_hash(model) != before
