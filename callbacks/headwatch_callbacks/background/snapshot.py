"""A value whose tensors lie beside its pickle, so that another process reads them where they are.

`pack` pickles whatever holds tensors, such as a model, without what is in them: 4 ms for GPT-2 small. `store` copies
the tensors into memory that both processes see, one copy each; `load` makes the value again, whose tensors are views
of that memory.
"""

import io
import pickle
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

ALIGNMENT = 64  # bytes: what vector instructions like best

Memory = UInt8[Tensor, " byte"]


@dataclass(frozen=True)
class Packed:
    """A value in two parts.

    Attributes:
        pickled: the value, with a number in the place of each tensor.
        tensors: the tensors by their numbers; the value's own, not copied.
    """

    pickled: bytes
    tensors: Sequence[Tensor]

    @property
    def nbytes(self) -> int:
        """How much memory `store` needs for it, at most."""
        slots = sum(_aligned(tensor.nbytes) for tensor in self.tensors)
        return slots + _aligned(len(self.pickled)) + 512 * (len(self.tensors) + 2)


class Stored(NamedTuple):
    """Where a packed value lies in memory: its description, from which the rest is found, and where it ends."""

    start: int
    stop: int


class Slot(NamedTuple):
    """Where one tensor lies."""

    start: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    trained: bool | None  # whether it wants a gradient; None where it is no parameter


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        """A number for each plain tensor; one of another class or layout is pickled as it pleases."""
        if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided:
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self._numbers[id(value)]

    def reducer_override(self, value: Any) -> Any:
        """Refuse what another process can't import."""
        if isinstance(value, type | types.FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(
                f"{value.__qualname__} is defined in the script itself, which another process can't import:"
                " move it into a module"
            )
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, number: int) -> Tensor:
        return self._tensors[number]


def pack(value: Any) -> Packed:
    """Pickle a value without what is in its tensors.

    Raises:
        Exception: whatever pickling raises where something can't be pickled, or imported by another process.
    """
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(value)
    return Packed(file.getvalue(), packer.tensors)


@torch.no_grad()
def store(packed: Packed, memory: Memory, start: int = 0) -> Stored:
    """Copy a packed value into memory, from `start` on.

    Raises:
        ValueError: it doesn't fit.
    """
    if start + packed.nbytes > len(memory):
        raise ValueError(f"{packed.nbytes} bytes don't fit into the {len(memory) - start} that are left")
    slots, end = [], _aligned(start)
    for tensor in packed.tensors:
        trained = tensor.requires_grad if isinstance(tensor, nn.Parameter) else None
        slot = Slot(end, tensor.nbytes, tuple(tensor.shape), tensor.dtype, trained)
        _view(memory, slot).copy_(tensor)
        slots.append(slot)
        end = _aligned(end + slot.nbytes)
    described = pickle.dumps((slots, packed.pickled))
    memory.numpy()[end : end + len(described)] = bytearray(described)
    return Stored(end, end + len(described))


def same(packed: Packed, memory: Memory, stored: Stored) -> bool:
    """Whether memory holds just these tensors, bit for bit."""
    slots, _ = _description(memory, stored)
    return len(slots) == len(packed.tensors) and all(
        tensor.shape == slot.shape and tensor.dtype == slot.dtype and _same_bits(tensor, _view(memory, slot))
        for tensor, slot in zip(packed.tensors, slots, strict=True)
    )


def load(memory: Memory, stored: Stored, device: torch.device) -> Any:
    """Make a stored value again; on the CPU its tensors are views of the memory, elsewhere they are copies.

    Raises:
        Exception: whatever unpickling raises where something can't be imported.
    """
    slots, pickled = _description(memory, stored)
    return _Unpacker(io.BytesIO(pickled), [_tensor(memory, slot, device) for slot in slots]).load()


def to_bytes(value: Any) -> bytes:
    """A value as one message, wherever its tensors are."""
    packed = pack(value)
    memory = torch.empty(packed.nbytes, dtype=torch.uint8)
    stored = store(packed, memory)
    return pickle.dumps((stored, memory[: stored.stop].numpy().tobytes()))


def from_bytes(message: bytes) -> Any:
    """The value that `to_bytes` made a message of, on the CPU."""
    stored, found = pickle.loads(message)
    return load(torch.frombuffer(bytearray(found), dtype=torch.uint8), stored, torch.device("cpu"))


def _description(memory: Memory, stored: Stored) -> tuple[list[Slot], bytes]:
    found: tuple[list[Slot], bytes] = pickle.loads(memory.numpy()[stored.start : stored.stop].tobytes())
    return found


def _same_bits(one: Tensor, other: Tensor) -> bool:
    there = one.detach().cpu().contiguous()  # NaN is the same as NaN here
    return torch.equal(there.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _view(memory: Memory, slot: Slot) -> Tensor:
    return memory[slot.start : slot.start + slot.nbytes].view(slot.dtype).view(slot.shape)


def _tensor(memory: Memory, slot: Slot, device: torch.device) -> Tensor:
    value = _view(memory, slot).to(device)
    return value if slot.trained is None else nn.Parameter(value, requires_grad=slot.trained)
