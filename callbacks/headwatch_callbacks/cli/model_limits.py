"""What prompts a saved model can take, of whatever family it is."""

from dataclasses import dataclass
from pathlib import Path

from headwatch.reading import reading


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
        ValueError: the config is damaged, or of a family that transformers does not know.
    """
    from transformers import AutoConfig

    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json: give the folder of a saved model")
    # A config answers to the common names whatever its family calls them (GPT-2: n_positions); without an
    # absolute limit, as with rotary positions in some families, there is no such attribute.
    with reading(f"the configuration of {folder}", "give the folder of a saved model"):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False).get_text_config()
    names = ("max_position_embeddings", "vocab_size")
    context, vocabulary = (_limit(folder, name, getattr(config, name, None)) for name in names)
    return ModelLimits(context, vocabulary)


def _limit(folder: Path, name: str, value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(
        f"the configuration of {folder}: {name} is {value!r}, it must be a positive whole number"
    )
