"""What prompts a saved model can take, of whatever family it is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelLimits:
    """What bounds the prompts of a model; None = any.

    Attributes:
        context: the longest prompt, in tokens.
        vocabulary: how many token ids there are.
    """

    context: int | None = None
    vocabulary: int | None = None


def read_limits(folder: Path) -> ModelLimits:
    """The limits that a model's config.json states.

    Raises:
        FileNotFoundError: the folder holds no config.json.
        ValueError: the config is of a family that transformers does not know.
    """
    from transformers import AutoConfig

    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json: give the folder of a saved model")
    # A config answers to the common names whatever its family calls them (GPT-2: n_positions); without an
    # absolute limit, as with rotary positions in some families, there is no such attribute.
    config = AutoConfig.from_pretrained(str(folder)).get_text_config()
    return ModelLimits(getattr(config, "max_position_embeddings", None), getattr(config, "vocab_size", None))
