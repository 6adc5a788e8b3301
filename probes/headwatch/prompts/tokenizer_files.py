"""A tokenizer out of a folder, out of the cache of the Hugging Face hub, or from the hub, in this order.

The hub is asked once, and for a few seconds, whether it has the name, before anything waits for files from it.
"""

from pathlib import Path

from huggingface_hub import HfApi
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from headwatch.reading import reading, reason

_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "config.json")
_WAIT_S = 5.0
_AGAIN = "give a folder written by save_pretrained, or a tokenizer"


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or of a name on the hub.

    Raises:
        ValueError: nothing is found under that name, or its files are damaged, or hold no vocabulary.
    """
    loaded = _in_folder(name) if Path(name).is_dir() else _in_cache(name) or _from_hub(name)
    if not has_vocabulary(loaded):
        raise ValueError(
            f"tokenizer {name!r} has no vocabulary: its folder lacks the files that save_pretrained writes"
        )
    return loaded


def has_vocabulary(tokenizer: PreTrainedTokenizerBase) -> bool:
    """False for what a folder with a model's config and no tokenizer loads as."""
    return len(tokenizer) > len(tokenizer.all_special_ids)


def _in_folder(name: str) -> PreTrainedTokenizerBase:
    if not any((Path(name) / file).is_file() for file in _FILES):
        raise ValueError(f"tokenizer {name!r} is a folder that holds no tokenizer: {_AGAIN}")
    with reading(f"tokenizer {name!r}", _AGAIN):
        loaded = AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
        _use(loaded)
    return loaded


def _use(tokenizer: PreTrainedTokenizerBase) -> None:
    """Read one word of its own: damage to a setting shows only in use."""
    special = set(tokenizer.all_special_ids)
    own = next((token for token in range(len(tokenizer)) if token not in special), None)
    if own is not None:
        tokenizer(tokenizer.decode([own]), add_special_tokens=False, verbose=False)


def _in_cache(name: str) -> PreTrainedTokenizerBase | None:
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception:  # not there, or damaged: the hub may have it whole
        return None


def _from_hub(name: str) -> PreTrainedTokenizerBase:
    try:
        # transformers would ask for file after file, each again and again.
        HfApi().model_info(name, timeout=_WAIT_S)
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # of the network, of the hub, or of what it sent
        raise ValueError(
            f"tokenizer {name!r} is neither a tokenizer's folder on this machine nor could it be had from the "
            f"Hugging Face hub ({reason(error)}); {_AGAIN}"
        ) from error
