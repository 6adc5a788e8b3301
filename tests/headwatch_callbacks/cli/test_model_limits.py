"""The limits of saved models of several families; each config class is transformers' own."""

import pytest
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig, T5Config

from headwatch_callbacks.cli.model_limits import ModelLimits, read_limits


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        (GPT2Config(n_positions=40, vocab_size=61), ModelLimits(40, 61)),
        (GPTNeoXConfig(max_position_embeddings=50, vocab_size=62), ModelLimits(50, 62)),
        (LlamaConfig(max_position_embeddings=60, vocab_size=63), ModelLimits(60, 63)),
        (T5Config(vocab_size=64), ModelLimits(None, 64)),  # relative positions: any length
    ],
)
def test_limits_of_a_family(config, limits, tmp_path):
    config.save_pretrained(tmp_path)
    assert read_limits(tmp_path) == limits


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json: give the folder of a saved model"):
        read_limits(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"model_type": "gpt2", "n_positions": "many"}', '{"model_type": "gpt2", "vocab_size": -1}'],
)
def test_a_damaged_configuration_is_said_in_one_sentence(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"the configuration of {tmp_path}") as refused:
        read_limits(tmp_path)
    assert "\n" not in str(refused.value)
