"""What a configuration may say, and the sentence on what it may not."""

import json
from argparse import Namespace

import pytest
from transformers import GPT2Config

from headwatch_callbacks.checkpoints.configuration import (
    configuration,
    in_hyper_parameters,
    read_configuration,
)

SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n_layer": "two"}, r"\(Field 'n_layer' expected int, got str \(value: 'two'\)\)"),
        ({"n_layer": True}, "Field 'n_layer' expected int, got bool"),
        ({"n_head": 0}, "n_head is 0, it must be a positive whole number"),
        ({"n_inner": -1}, "n_inner is -1, it must be a positive whole number"),
        ({"vocab_size": 10**30}, "vocab_size is 1000000000000000000000000000000, it must"),
        ({"n_head": 3}, "n_embd 16 must be divisible by n_head 3"),
        ({"attn_pdrop": 2.0}, "attn_pdrop is 2.0, it must be from 0 to 1"),
        ({"embd_pdrop": float("nan")}, "embd_pdrop is nan, it must be from 0 to 1"),
        ({"layer_norm_epsilon": float("inf")}, "layer_norm_epsilon is inf, it must be a small positive"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0, it must be a small positive"),
        ({"activation_function": "gelo"}, "activation_function is 'gelo'; known: .*gelu_new"),
        ({"add_cross_attention": True}, "add_cross_attention is set"),
    ],
)
def test_a_value_that_builds_no_model_is_named(values, said):
    with pytest.raises(ValueError, match=f"^run/config.json.*{said}") as refused:
        configuration(SIZES | values, "run/config.json")
    assert "\n" not in str(refused.value)


def test_what_does_not_decide_a_models_numbers_is_left_alone():
    odd = {"id2label": 7, "architectures": None, "dtype": "none", "transformers_version": []}
    found = configuration(SIZES | odd | {"tie_word_embeddings": False, "n_inner": 20}, "run/config.json")
    assert (found.n_layer, found.n_inner, found.tie_word_embeddings) == (2, 20, False)


def test_common_names_are_known():
    found = configuration(
        {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}, "config.json"
    )
    assert (found.n_layer, found.n_head, found.n_embd) == (2, 2, 16)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"gpt2"', "[" * 100_000])
def test_a_file_that_holds_no_object(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^{file} (can't be read|holds)"):
        read_configuration(file)


def test_a_quantised_model_is_refused(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SIZES | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ValueError, match="is of a quantised model: save it in floating point"):
        read_configuration(file)


def test_hyper_parameters_are_searched_but_not_for_ever():
    nested = {"model": Namespace(init_args={"net": SIZES})}
    found = in_hyper_parameters(nested, "the hyper-parameters of a.ckpt")
    assert found is not None
    assert found.n_embd == 16
    endless: dict = {}
    endless["itself"] = endless
    assert in_hyper_parameters(endless, "the hyper-parameters of a.ckpt") is None


def test_a_configuration_among_the_hyper_parameters_is_checked_too():
    """Unpickled, it was built without its own checks."""
    config = GPT2Config(**SIZES)
    vars(config)["n_head"] = 3
    with pytest.raises(ValueError, match="must be divisible"):
        in_hyper_parameters({"config": config}, "the hyper-parameters of a.ckpt")
