"""Damage to checkpoints, configurations, tokenizers and pair files: what a copy, a full disk or a wrong script leaves.

Each case is a name and a function that damages a sound file or folder in place. A case is pure: the same name always
does the same damage.
"""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config

from tests.models import tiny_gpt2
from tests.tokenizers import word_level

Damage = Callable[[Path], None]
Case = tuple[str, Damage]

WORDS = ["Mary", "John", "Anna", "Tom", "gave", "took", "it", "to", "store", "park"]
HPARAMS = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 61, "n_positions": 40}
ODD_VALUES = {
    "null": None,
    "text": "twelve",
    "empty": "",
    "negative": -1,
    "zero": 0,
    "one": 1,
    "float": 2.5,
    "whole float": 2.0,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**9,
    "beyond 64 bits": 10**30,
    "list": [1, 2],
    "object": {"a": 1},
    "yes": True,
}


def write_sound_folder(folder: Path) -> Path:
    """A Hugging Face folder with a GPT-2 of two layers and a tokenizer of whole words."""
    model = tiny_gpt2(n_layer=2, n_head=2, n_embd=16)
    model.save_pretrained(folder)
    word_level(WORDS).save_pretrained(folder)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 30}))
    return folder


def write_sound_lightning(file: Path) -> Path:
    """A Lightning checkpoint of the same model, with its sizes among the hyper-parameters."""
    model = tiny_gpt2(n_layer=2, n_head=2, n_embd=16)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 30, "epoch": 1, "hyper_parameters": HPARAMS}, file)
    return file


def write_sound_pairs(file: Path) -> Path:
    """Four prompt pairs as text."""
    lines = [
        {
            "clean": f"Mary gave it to {name}",
            "corrupted": f"John gave it to {name}",
            "answer": "Mary",
            "foil": "John",
        }
        for name in ("Anna", "Tom", "store", "park")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def folder_cases(seed: int = 0, bit_flips: int = 20) -> Iterator[Case]:
    """Damage to a Hugging Face folder."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        yield from _named(name, _bytes_cases(seed, bit_flips))
        yield f"{name} missing", partial(_remove, name)
        yield f"{name} a folder", partial(_replace_by_folder, name)
    yield from _named("trainer_state.json", _bytes_cases(seed, 4))
    for kind, value in ODD_VALUES.items():
        yield f"trainer_state.json global_step {kind}", partial(_set_trainer_state, {"global_step": value})
        yield f"trainer_state.json as {kind}", partial(_set_trainer_state, value)
        yield f"config.json as {kind}", partial(_write_config, value)
        yield f"tokenizer.json as {kind}", partial(_write_json, "tokenizer.json", value)
        yield f"tokenizer_config.json as {kind}", partial(_write_json, "tokenizer_config.json", value)
    fields = [*GPT2Config().to_dict(), "quantization_config", "torch_dtype", "auto_map"]
    for field in dict.fromkeys(fields):
        yield f"config.json without {field}", partial(_drop_field, field)
        for kind, value in ODD_VALUES.items():
            yield f"config.json {field} {kind}", partial(_set_field, field, value)
    yield from _safetensors_cases()
    yield from _tokenizer_cases()


def lightning_cases(seed: int = 0, bit_flips: int = 40) -> Iterator[Case]:
    """Damage to a Lightning checkpoint."""
    yield from _bytes_cases(seed, bit_flips)
    for kind, value in (ODD_VALUES | {"tensor": torch.ones(3), "tensor of one": torch.tensor(30)}).items():
        yield f"whole {kind}", partial(_write_content, value)
        for key in ("state_dict", "global_step", "hyper_parameters"):
            yield f"{key} {kind}", partial(_set_content, (key,), value)
        for name in ("model.transformer.wte.weight", "model.transformer.h.1.attn.c_attn.weight"):
            yield f"{name} {kind}", partial(_set_content, ("state_dict", name), value)
        for name in GPT2Config().to_dict():
            yield f"hyper_parameters {name} {kind}", partial(_set_content, ("hyper_parameters", name), value)
        yield f"weight named {kind}", partial(_set_content, ("state_dict", _as_key(value)), torch.ones(2))
    for key in ("state_dict", "global_step", "hyper_parameters"):
        yield f"without {key}", partial(_drop_content, (key,))
    for name in HPARAMS:
        yield f"hyper_parameters without {name}", partial(_drop_content, ("hyper_parameters", name))
    for name in ("model.transformer.wte.weight", "model.transformer.h.1.ln_1.bias", "model.lm_head.weight"):
        yield f"without {name}", partial(_drop_content, ("state_dict", name))
    yield from _odd_weights()
    yield from _odd_hyper_parameters()


def pair_cases(seed: int = 0, bit_flips: int = 20) -> Iterator[Case]:
    """Damage to a file of prompt pairs."""
    yield from _bytes_cases(seed, bit_flips)
    yield "missing", _remove_whole
    for field in ("clean", "corrupted", "answer", "foil", "task", "position"):
        for kind, value in ODD_VALUES.items():
            yield f"{field} {kind}", partial(_set_pair_field, field, value)
    for kind, value in ODD_VALUES.items():
        yield f"a line {kind}", partial(_add_line, json.dumps(value).encode())
    yield (
        "half a surrogate",
        partial(_add_line, b'{"clean": "\\ud800", "corrupted": "a", "answer": "b", "foil": "c"}'),
    )
    yield "nested too deeply", partial(_add_line, b"[" * 100_000)
    yield "a number of 5,000 digits", partial(_add_line, b'{"position": ' + b"9" * 5_000 + b"}")


class Stranger:
    """A class that no checkpoint should need."""


class Trap:
    """Unpickling it would call a function."""

    def __reduce__(self) -> Any:
        return (print, ("code ran",))


def _named(name: str, cases: Iterator[Case]) -> Iterator[Case]:
    for what, damage in cases:
        yield f"{name} {what}", partial(_inside, name, damage)


def _inside(name: str, damage: Damage, folder: Path) -> None:
    damage(folder / name)


def _bytes_cases(seed: int, bit_flips: int) -> Iterator[Case]:
    """What happens to a file's bytes, whatever it holds."""
    for share in (0.0, 0.01, 0.1, 0.5, 0.9, 0.99):
        yield f"cut to {share:.0%}", partial(_cut, share)
    for start in (0.0, 0.3, 0.7, 0.95):
        yield f"zeros from {start:.0%}", partial(_zero, start)
    yield "text", partial(_overwrite, b"this is not what you look for\n")
    yield "no UTF-8", partial(_overwrite, b"\xff\xfe{\x00}\x00")
    yield "noise", partial(_noise, seed)
    yield "a page of HTML", partial(_overwrite, b"<!doctype html><title>404: Not Found</title>")
    yield (
        "a pointer of git-lfs",
        partial(_overwrite, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n"),
    )
    for flip in range(bit_flips):
        yield f"bit flip {flip}", partial(_flip, seed * 1_000 + flip)


def _cut(share: float, file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def _zero(start: float, file: Path) -> None:
    data = bytearray(file.read_bytes())
    at = int(len(data) * start)
    end = min(len(data), at + max(1, len(data) // 20))
    data[at:end] = bytes(end - at)
    file.write_bytes(bytes(data))


def _overwrite(data: bytes, file: Path) -> None:
    file.write_bytes(data)


def _noise(seed: int, file: Path) -> None:
    file.write_bytes(np.random.default_rng(seed).bytes(4_000))


def _flip(seed: int, file: Path) -> None:
    """One bit, of the first or the last 2,000 bytes half of the time: there is what a reader must understand."""
    generator = np.random.default_rng(seed)
    data = bytearray(file.read_bytes())
    edge = min(2_000, len(data))
    low, high = [(0, edge), (len(data) - edge, len(data)), (0, len(data))][seed % 3]
    data[int(generator.integers(low, high))] ^= 1 << int(generator.integers(8))
    file.write_bytes(bytes(data))


def _remove(name: str, folder: Path) -> None:
    (folder / name).unlink()


def _remove_whole(file: Path) -> None:
    file.unlink()


def _replace_by_folder(name: str, folder: Path) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def _write_json(name: str, value: Any, folder: Path) -> None:
    (folder / name).write_text(json.dumps(value))


def _write_config(value: Any, folder: Path) -> None:
    _write_json("config.json", value, folder)


def _set_trainer_state(value: Any, folder: Path) -> None:
    _write_json("trainer_state.json", value, folder)


def _set_field(field: str, value: Any, folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    _write_config(values | {field: value}, folder)


def _drop_field(field: str, folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values.pop(field, None)
    _write_config(values, folder)


def _safetensors_cases() -> Iterator[Case]:
    """Headers of safetensors files: their length, their JSON, their offsets, and weights that are missing or odd."""
    for length in (0, 7, 2**20, 2**40, 2**63, 2**64 - 1):
        yield f"safetensors header of {length} bytes", partial(_header_length, length)
    for what, header in (
        ("no JSON", b"{"),
        ("a list", b"[1, 2]"),
        ("empty", b"{}"),
        ("no type", b'{"a": {"shape": [1], "data_offsets": [0, 4]}}'),
        ("unknown type", b'{"a": {"dtype": "F1", "shape": [1], "data_offsets": [0, 4]}}'),
        ("offsets backwards", b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}'),
        ("offsets beyond", b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
        ("huge shape", b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}'),
        ("nested", b'{"a": ' * 5_000),
    ):
        yield f"safetensors header {what}", partial(_header, header)
    for what in (
        "wte dropped",
        "a layer dropped",
        "wider",
        "a layer more",
        "integers",
        "no weights",
        "renamed",
    ):
        yield f"safetensors {what}", partial(_change_tensors, what)
    yield "an index of shards that are missing", _index_of_missing_shards
    yield "weights pickled with a stranger", _pickled_weights


def _header_length(length: int, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])


def _header(header: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def _change_tensors(what: str, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "transformer.h.1.mlp.c_fc.weight"
    match what:
        case "wte dropped":
            del tensors["transformer.wte.weight"]
        case "a layer dropped":
            tensors = {key: value for key, value in tensors.items() if ".h.1." not in key}
        case "wider":
            tensors[name] = torch.ones(16, 99)
        case "a layer more":
            more = {key.replace(".h.1.", ".h.2."): value.clone() for key, value in tensors.items()}
            tensors |= more
        case "integers":
            tensors[name] = torch.ones(16, 64, dtype=torch.int64)
        case "no weights":
            tensors = {}
        case "renamed":
            tensors = {f"net.{key}": value for key, value in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _index_of_missing_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors"}}
    _write_json("model.safetensors.index.json", index, folder)


def _pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Stranger()}, folder / "pytorch_model.bin")


def _tokenizer_cases() -> Iterator[Case]:
    for key in ("model", "version", "added_tokens", "pre_tokenizer", "decoder", "normalizer"):
        for kind, value in ODD_VALUES.items():
            yield f"tokenizer.json {key} {kind}", partial(_set_tokenizer, (key,), value)
    for key in ("type", "vocab", "unk_token"):
        for kind, value in ODD_VALUES.items():
            yield f"tokenizer.json model {key} {kind}", partial(_set_tokenizer, ("model", key), value)
    for key in ("tokenizer_class", "unk_token", "model_max_length", "added_tokens_decoder", "backend"):
        for kind, value in ODD_VALUES.items():
            yield f"tokenizer_config.json {key} {kind}", partial(_set_tokenizer_config, key, value)


def _set_tokenizer(keys: tuple[str, ...], value: Any, folder: Path) -> None:
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    _set_at(values, keys, value)
    file.write_text(json.dumps(values))


def _set_tokenizer_config(key: str, value: Any, folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def _set_at(values: Any, keys: tuple[Any, ...], value: Any) -> None:
    *outer, last = keys
    for key in outer:
        values = values[key]
    values[last] = value


def _as_key(value: Any) -> Any:
    return repr(value) if isinstance(value, list | dict | torch.Tensor) else value


def _write_content(value: Any, file: Path) -> None:
    torch.save(value, file)


def _set_content(keys: tuple[Any, ...], value: Any, file: Path) -> None:
    content = torch.load(file, weights_only=True)
    _set_at(content, keys, value)
    torch.save(content, file)


def _drop_content(keys: tuple[str, ...], file: Path) -> None:
    content = torch.load(file, weights_only=True)
    *outer, last = keys
    place = content
    for key in outer:
        place = place[key]
    del place[last]
    torch.save(content, file)


def _odd_weights() -> Iterator[Case]:
    name = "model.transformer.h.0.mlp.c_fc.weight"
    for what, weight in (
        ("of no dimension", torch.tensor(1.0)),
        ("empty", torch.ones(0)),
        ("turned", torch.ones(64, 16)),
        ("of three dimensions", torch.ones(16, 64, 1)),
        ("sparse", torch.ones(16, 64).to_sparse()),
        ("complex", torch.ones(16, 64, dtype=torch.complex64)),
        ("of truth values", torch.ones(16, 64, dtype=torch.bool)),
        ("whole numbers", torch.ones(16, 64, dtype=torch.int32)),
        ("on no device", torch.ones(16, 64, device="meta")),
    ):
        yield f"a weight {what}", partial(_set_content, ("state_dict", name), weight)
        table = ("state_dict", "model.transformer.wte.weight")
        yield f"embedding {what}", partial(_set_content, table, weight)
    yield "two models", _second_model
    yield (
        "a layer that the sizes lack",
        partial(_set_content, ("state_dict", "model.transformer.h.7.ln_1.bias"), torch.ones(16)),
    )


def _second_model(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    state = content["state_dict"]
    content["state_dict"] = state | {f"teacher.{name}": value for name, value in state.items()}
    torch.save(content, file)


def _odd_hyper_parameters() -> Iterator[Case]:
    itself: dict[str, Any] = {}
    itself["config"] = itself
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"config": deep}
    for what, value in (
        ("a stranger", Stranger()),
        ("a trap", Trap()),
        ("a namespace", Namespace(**HPARAMS)),
        ("an empty namespace", Namespace()),
        ("a config", GPT2Config(**HPARAMS)),
        ("a config inside", {"config": GPT2Config(**HPARAMS)}),
        ("a list of dicts", [HPARAMS]),
        ("a dict of odd keys", {1: 2, None: 3}),
        ("a dict that holds itself", itself),
        ("a deep dict", deep),
        ("an array", np.ones(3)),
        ("heads that do not divide", HPARAMS | {"n_head": 3}),
        ("another width", HPARAMS | {"n_embd": 32}),
        ("more layers", HPARAMS | {"n_layer": 3}),
        ("fewer layers", HPARAMS | {"n_layer": 1}),
        ("another vocabulary", HPARAMS | {"vocab_size": 62}),
    ):
        yield f"hyper_parameters {what}", partial(_set_content, ("hyper_parameters",), value)


def _set_pair_field(field: str, value: Any, file: Path) -> None:
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {field: value})
    file.write_text("\n".join(lines) + "\n")


def _add_line(line: bytes, file: Path) -> None:
    file.write_bytes(file.read_bytes() + line + b"\n")


def copy(source: Path, target: Path) -> Path:
    """A copy of a sound file or folder, to be damaged."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target
