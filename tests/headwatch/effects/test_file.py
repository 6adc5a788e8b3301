"""A saved result comes back bit by bit; a file that is damaged, foreign or newer is refused in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects, file
from tests.compare import effects_are_identical
from tests.models import random_pairs, tiny_gpt2


def made(dtype: torch.dtype = torch.float32) -> Effects:
    per_pair = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    per_pair[1, 0, 2], per_pair[0, 1, 1], per_pair[2, 0, 0] = torch.nan, torch.inf, -0.0
    return Effects(
        per_pair,
        torch.randn(4).to(dtype),
        torch.randn(4).to(dtype),
        ("layer", "head"),
        "z",
        "noise",
        "logit_diff",
        exact=False,
        seconds=0.25,
        coords={"layer": (9, 11), "head": (0, 6, 7)},
        receivers=((9, 6), (9, 9)),
        receiver_input="q",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_everything_comes_back_bit_by_bit(tmp_path, dtype):
    effects = made(dtype)
    effects.save(tmp_path / "effects.npz")
    loaded = Effects.load(tmp_path / "effects.npz")
    effects_are_identical(effects, loaded)
    assert loaded.coords == {"layer": (9, 11), "head": (0, 6, 7)}


def test_a_name_without_an_ending_is_kept_and_nothing_else_is_left_behind(tmp_path):
    made().save(str(tmp_path / "effects"))
    assert [path.name for path in tmp_path.iterdir()] == ["effects"]
    assert Effects.load(str(tmp_path / "effects")).metric == "logit_diff"


def test_sets_and_given_heads_come_back(tmp_path):
    model, pairs = tiny_gpt2(), random_pairs(3)
    for effects in (
        hw.ablate_head_sets(model, pairs, sets=[[(2, 1), (0, 3)], [(1, 1)]], kind="mean"),
        hw.ablate_heads(model, pairs, kind="mean", given=[(0, 1)]),
        hw.patch_paths(model, pairs),
    ):
        effects.save(tmp_path / "effects.npz")
        loaded = Effects.load(tmp_path / "effects.npz")
        effects_are_identical(effects, loaded)
        assert loaded.baseline == effects.baseline
        assert repr(loaded) == repr(effects)


def test_values_that_are_not_stored_in_order_come_back(tmp_path):
    effects = made()
    turned = replace(effects, per_pair=effects.per_pair.clone().transpose(0, 1).contiguous().transpose(0, 1))
    turned.save(tmp_path / "effects.npz")
    effects_are_identical(turned, Effects.load(tmp_path / "effects.npz"))


def test_there_is_no_pickle_in_the_file(tmp_path):
    made().save(tmp_path / "effects.npz")
    with np.load(tmp_path / "effects.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Effects.load(tmp_path / "nothing.npz")


def test_a_damaged_file_is_refused(tmp_path):
    made().save(tmp_path / "effects.npz")
    whole = (tmp_path / "effects.npz").read_bytes()
    middle = whole.index(b"per_pair") + 200
    broken = [
        whole[: len(whole) // 2],
        whole[:middle] + b"\xff\xfe" + whole[middle + 2 :],
        b"",
        b"not an npz",
    ]
    for content in broken:
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.npz is damaged or holds no effects of headwatch"):
            Effects.load(tmp_path / "broken.npz")


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "pickle.npz", description=np.array([{"a": 1}], dtype=object))
    for name in ("other.npz", "single.npy", "pickle.npz"):
        with pytest.raises(ValueError, match=f"{name} is damaged or holds no effects of headwatch"):
            Effects.load(tmp_path / name)


def rewritten(path, **changes):
    """The file with another description."""
    with np.load(path, allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    description = json.loads(content["description"].tobytes()) | changes
    content["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(path, **content)


def test_a_newer_format_is_refused_by_its_number(tmp_path):
    made().save(tmp_path / "effects.npz")
    rewritten(tmp_path / "effects.npz", format=file.FORMAT + 1, fields={"unheard": "of"})
    with pytest.raises(
        ValueError, match=r"has format 2 and this headwatch reads up to 1: install a newer one"
    ):
        Effects.load(tmp_path / "effects.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": {"dims": ["layer"]}},
        {"what": "estimates"},
        {"dtypes": {"per_pair": "float128"}},
        {"format": "one"},
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, changes):
    made().save(tmp_path / "effects.npz")
    rewritten(tmp_path / "effects.npz", **changes)
    with pytest.raises(ValueError, match="is damaged or holds no effects of headwatch"):
        Effects.load(tmp_path / "effects.npz")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    made().save(tmp_path / "effects.npz")
    before = (tmp_path / "effects.npz").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        made().save(tmp_path / "effects.npz")
    assert (tmp_path / "effects.npz").read_bytes() == before
