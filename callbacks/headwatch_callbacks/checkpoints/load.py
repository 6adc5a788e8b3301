"""GPT-2 models out of Hugging Face folders and Lightning checkpoints, and the step at which each was saved.

Loading runs no code from a checkpoint: safetensors, or `torch.load(weights_only=True)`. A file that is damaged, or
whose weights are not those that its configuration describes, is refused in one sentence that names it.
"""

import json
import re
from pathlib import Path
from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel

from headwatch.reading import reading
from headwatch_callbacks.checkpoints.configuration import SIZES, in_hyper_parameters, read_configuration
from headwatch_callbacks.checkpoints.folder import folder_weights, model_folder
from headwatch_callbacks.checkpoints.lightning_file import check_sums, read_lightning
from headwatch_callbacks.checkpoints.weights import gpt2_weights, model_with

_LAST_STEP = 2**53  # beyond it a page's numbers are no longer whole


def load_gpt2(
    checkpoint: Path | str, config: Path | str | None = None, prefix: str | None = None
) -> GPT2LMHeadModel:
    """The GPT-2 in a checkpoint, in fp32 and evaluation mode.

    A Hugging Face folder describes its model itself. In a Lightning `.ckpt` the weights are found by their names,
    under whatever prefix; the sizes come from `config`, else from hyper-parameters that hold `n_layer`, `n_head`
    and `n_embd` (directly, in a dict or in a GPT2Config).

    Args:
        checkpoint: a Hugging Face folder, a model's name on the hub, or a Lightning `.ckpt` file.
        config: a folder with a `config.json`, or that file; only for a `.ckpt`.
        prefix: where the GPT-2 is among the weights of a `.ckpt`, such as `net.gpt`; needed where it holds several.

    Raises:
        ValueError: no GPT-2 in it, or several; sizes that are not known or don't fit; a file that is damaged or can't
            be read safely.
    """
    if is_lightning(checkpoint):
        return _from_lightning(Path(checkpoint), config, prefix)
    if config is not None or prefix is not None:
        given = "config" if config is not None else "prefix"
        raise ValueError(f"{given} can't take effect for {checkpoint}: only a Lightning .ckpt needs it")
    return _from_folder(str(checkpoint))


def is_lightning(checkpoint: Path | str) -> bool:
    """Whether this is a Lightning checkpoint: a file rather than a folder or a name."""
    return str(checkpoint).endswith(".ckpt") or Path(checkpoint).is_file()


def saved_step(checkpoint: Path | str) -> int | None:
    """The optimizer step at which a checkpoint was saved, None where nothing says so.

    Lightning: its `global_step`. Hugging Face: `trainer_state.json`, else the number that the name ends in.

    Raises:
        ValueError: a file that can't be read safely, or a step that is no whole number from 0.
    """
    if is_lightning(checkpoint):
        return _step(read_lightning(Path(checkpoint))["global_step"], str(checkpoint))
    state = Path(checkpoint) / "trainer_state.json"
    if state.is_file():
        with reading(str(state), "copy it again, or remove it and let the folder's name end in the step"):
            saved = json.loads(state.read_bytes())
        if not isinstance(saved, dict) or "global_step" not in saved:
            raise ValueError(f"{state} has no global_step: remove it, or copy it again")
        return _step(saved["global_step"], str(state))
    number = re.search(r"[-_=.](\d+)$", Path(checkpoint).name)
    return None if number is None else _step(int(number[1]), str(checkpoint))


def _step(value: Any, origin: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_STEP:
        raise ValueError(f"{origin}: global_step is {str(value)[:40]!r}, it must be a whole number from 0")
    return value


def _from_folder(checkpoint: str) -> GPT2LMHeadModel:
    folder = model_folder(checkpoint)
    described_by = folder / "config.json"
    if not described_by.is_file():
        raise ValueError(
            f"{folder} has no config.json: give a Hugging Face model's folder or a Lightning .ckpt"
        )
    config = read_configuration(described_by)
    weights = gpt2_weights(folder_weights(folder), None, checkpoint)
    return model_with(config, weights, checkpoint, str(described_by))


def _from_lightning(checkpoint: Path, config: Path | str | None, prefix: str | None) -> GPT2LMHeadModel:
    content = read_lightning(checkpoint)
    check_sums(checkpoint)
    found, described_by = _description(checkpoint, content, config)
    weights = gpt2_weights(content["state_dict"], prefix, str(checkpoint))
    return model_with(found, weights, str(checkpoint), described_by)


def _description(
    checkpoint: Path, content: dict[str, Any], config: Path | str | None
) -> tuple[GPT2Config, str]:
    """How the GPT-2 of a Lightning checkpoint is built, and what says so."""
    if config is not None:
        file = Path(config) / "config.json" if Path(config).is_dir() else Path(config)
        return read_configuration(file), str(file)
    described_by = f"the hyper-parameters of {checkpoint.name}"
    known = in_hyper_parameters(content.get("hyper_parameters"), f"the hyper-parameters of {checkpoint}")
    if known is None:
        raise ValueError(
            f"{checkpoint} does not say how its GPT-2 is built: give a folder with its config.json, or save "
            f"{', '.join(SIZES)} among the module's hyper-parameters"
        )
    return known, described_by
