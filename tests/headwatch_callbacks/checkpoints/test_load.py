"""Models out of checkpoints written by Hugging Face and in Lightning's form: the same logits come out."""

import json
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, LlamaConfig

from headwatch_callbacks.checkpoints.load import load_gpt2, saved_step
from tests.models import random_ids, tiny_gpt2

IDS = random_ids(2, 7)
HPARAMS = {"n_layer": 3, "n_head": 4, "n_embd": 32, "vocab_size": 61, "n_positions": 40}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def lightning(file, state, hparams=None, step=500):
    """A checkpoint with the parts of Lightning's that matter here."""
    content = {"state_dict": state, "global_step": step, "epoch": 1, "pytorch-lightning_version": "2.6.6"}
    torch.save(content | ({} if hparams is None else {"hyper_parameters": hparams}), file)
    return file


def prefixed(model, prefix):
    return {prefix + name: value for name, value in model.state_dict().items()}


@pytest.fixture
def model():
    return tiny_gpt2()


def test_a_hugging_face_folder(tmp_path, model):
    model.save_pretrained(tmp_path)
    loaded = load_gpt2(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert not loaded.training


@pytest.mark.parametrize("prefix", ["", "model.", "net.gpt.", "net._orig_mod."])
def test_a_lightning_checkpoint_under_any_prefix(tmp_path, model, prefix):
    file = lightning(
        tmp_path / "last.ckpt", prefixed(model, prefix) | {"head.weight": torch.ones(2)}, HPARAMS
    )
    assert torch.equal(logits(load_gpt2(file)), logits(model))


@pytest.mark.parametrize(
    "wrap", [lambda h: {"config": h}, lambda h: Namespace(**h), lambda h: {"c": GPT2Config(**h)}]
)
def test_sizes_are_found_where_hyper_parameters_hold_them(tmp_path, model, wrap):
    file = lightning(tmp_path / "last.ckpt", prefixed(model, "model."), wrap(HPARAMS))
    assert torch.equal(logits(load_gpt2(file)), logits(model))


def test_sizes_from_a_configuration_folder(tmp_path, model):
    model.config.save_pretrained(tmp_path)
    file = lightning(tmp_path / "last.ckpt", prefixed(model, "model."))
    assert torch.equal(logits(load_gpt2(file, config=tmp_path)), logits(model))
    with pytest.raises(
        ValueError, match=r"does not say how its GPT-2 is built: give a folder with its config.json"
    ):
        load_gpt2(file)


def test_one_of_two_models_by_its_prefix(tmp_path, model):
    other = tiny_gpt2(seed=1)
    file = lightning(tmp_path / "a.ckpt", prefixed(model, "student.") | prefixed(other, "teacher."), HPARAMS)
    assert torch.equal(logits(load_gpt2(file, prefix="teacher")), logits(other))
    with pytest.raises(ValueError, match=r"several GPT-2s \(student, teacher\): say which by its prefix"):
        load_gpt2(file)
    with pytest.raises(ValueError, match="no GPT-2 at 'nobody'"):
        load_gpt2(file, prefix="nobody")


class Trap:
    """Unpickling it would call a function."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_checkpoint_is_not_run(tmp_path, model, capsys):
    file = lightning(tmp_path / "trap.ckpt", prefixed(model, "model."), {"trap": Trap()})
    with pytest.raises(ValueError, match=r"holds a Python object.*could run code, and is not opened"):
        load_gpt2(file)
    assert capsys.readouterr().out == ""


def test_files_that_are_no_checkpoint(tmp_path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"broken\.ckpt"):
        load_gpt2(broken)
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no Lightning checkpoint: it has no state_dict and no global_step"):
        load_gpt2(tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"absent\.ckpt does not exist"):
        load_gpt2(tmp_path / "absent.ckpt")


def test_weights_that_do_not_fit(tmp_path, model):
    state = prefixed(model, "model.")
    for name, stated in (("n_embd", 16), ("n_layer", 2), ("n_layer", 4), ("n_layer", 10**9), ("n_inner", 64)):
        file = lightning(tmp_path / f"{name}-{stated}.ckpt", state, HPARAMS | {name: stated})
        with pytest.raises(ValueError, match=rf"{file} does not fit .*: its weights have {name}") as refused:
            load_gpt2(file)
        assert f"which is {stated} there" in str(refused.value)
    more = state | {"model.transformer.h.0.extra.weight": torch.ones(2)}
    with pytest.raises(ValueError, match=r"has, beyond the hyper-parameters.*, transformer.h.0.extra.weight"):
        load_gpt2(lightning(tmp_path / "b.ckpt", more, HPARAMS))
    del more["model.transformer.h.0.extra.weight"], more["model.transformer.h.1.ln_1.bias"]
    with pytest.raises(ValueError, match=r"c.ckpt lacks transformer.h.1.ln_1.bias$"):
        load_gpt2(lightning(tmp_path / "c.ckpt", more, HPARAMS))
    adapted = state | {"model.transformer.h.0.attn.c_attn.lora_A.weight": torch.ones(2)}
    with pytest.raises(ValueError, match="holds LoRA adapters: merge them"):
        load_gpt2(lightning(tmp_path / "d.ckpt", adapted, HPARAMS))


def test_a_folder_is_held_to_its_configuration(tmp_path, model):
    """The library that loads it fills what is missing with chance, and says so in a log."""
    state = model.state_dict()
    del state["transformer.h.1.ln_1.bias"]
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"lacks transformer.h.1.ln_1.bias"):
        load_gpt2(tmp_path)


def test_output_weights_of_their_own_are_not_dropped(tmp_path, model):
    state = model.state_dict() | {"lm_head.weight": torch.ones(61, 32)}
    with pytest.raises(ValueError, match=r"has output weights of its own, but .* ties them"):
        load_gpt2(lightning(tmp_path / "a.ckpt", state, HPARAMS))
    loaded = load_gpt2(lightning(tmp_path / "b.ckpt", state, HPARAMS | {"tie_word_embeddings": False}))
    assert (loaded.lm_head.weight == 1).all()
    assert torch.equal(loaded.transformer.wte.weight, model.transformer.wte.weight)


def test_a_folder_in_shards_and_one_that_was_pickled(tmp_path, model):
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(logits(load_gpt2(tmp_path / "shards")), logits(model))
    model.config.save_pretrained(tmp_path / "pickled")
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    assert torch.equal(logits(load_gpt2(tmp_path / "pickled")), logits(model))


def test_a_folder_in_the_names_of_the_first_gpt2s(tmp_path, model):
    """Without the outer prefix, and with the masks that were weights once."""
    state = {name.removeprefix("transformer."): value.clone() for name, value in model.state_dict().items()}
    del state["lm_head.weight"]
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 40, 40, dtype=torch.uint8) for layer in range(3)}
    model.config.save_pretrained(tmp_path)
    save_file(state | masks, tmp_path / "model.safetensors")
    assert torch.equal(logits(load_gpt2(tmp_path)), logits(model))


def test_a_bit_that_was_flipped_in_a_weight_is_seen(tmp_path, model):
    file = lightning(tmp_path / "a.ckpt", prefixed(model, "model."), HPARAMS)
    data = bytearray(file.read_bytes())
    at = data.find(model.transformer.h[1].mlp.c_fc.weight.detach().numpy().tobytes())
    data[at + 41] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"a\.ckpt can't be read \(Bad CRC-32.*copy it again"):
        load_gpt2(file)
    torch.serialization.set_crc32_options(False)
    try:
        lightning(file, prefixed(model, "model."), HPARAMS)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(logits(load_gpt2(file)), logits(model))


def test_weights_of_half_precision_are_read_as_fp32(tmp_path, model):
    half = tiny_gpt2().bfloat16()
    half.save_pretrained(tmp_path)
    loaded = load_gpt2(tmp_path)
    assert {weight.dtype for weight in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(logits(loaded), logits(half.float()))


def test_folders_without_a_gpt2(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json"):
        load_gpt2(tmp_path)
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a model of type 'llama', not a GPT-2"):
        load_gpt2(tmp_path)


def test_options_of_lightning_files_are_refused_for_folders(tmp_path, model):
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="prefix can't take effect"):
        load_gpt2(tmp_path, prefix="model")


def test_the_step_of_each_kind_of_checkpoint(tmp_path, model):
    assert saved_step(lightning(tmp_path / "last.ckpt", {}, step=700)) == 700
    folder = tmp_path / "checkpoint-300"
    folder.mkdir()
    assert saved_step(folder) == 300
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 299}))
    assert saved_step(folder) == 299
    assert saved_step(tmp_path / "gpt2") is None
