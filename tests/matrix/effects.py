"""What the probes of a row found, held to the reference: GPT-2 written out, run once per intervention."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from headwatch.record import Record
from tests.matrix.training import Training
from tests.models import random_pairs, tiny_gpt2
from tests.reference.functional import forward
from tests.reference.sweeps import sweep

LORA_SCALE = 4.0  # lora_alpha / r of `training.network`
COMPILED = "the probe gradients failed"
SERIES = {"ablation": ("z", "mean", "loss"), "patching": ("z", "denoise", "logit_diff")}


def tolerance(training: Training) -> float:
    """How far an effect may lie off, as a share of the largest; bf16 rounds to 8 bits."""
    return {"16-mixed": 2e-2, "bf16-mixed": 1e-1, "bf16-true": 3e-1}.get(training.precision, 1e-4)


def plain_model(weights: Mapping[str, Tensor]) -> GPT2LMHeadModel:
    """The GPT-2 of a training as it stood, in float32 and evaluation mode, with what LoRA adds."""
    found = {}
    for name, value in weights.items():
        for wrapper in ("gpt.", "module.", "_orig_mod.", "base_model.model."):
            name = name.removeprefix(wrapper)
        found[name] = value.float()
    for name in [name for name in found if ".lora_A." in name]:
        a, b = found.pop(name), found.pop(name.replace("lora_A", "lora_B"))
        base = name.partition(".lora_A.")[0] + ".base_layer.weight"
        found[base] = found[base] + LORA_SCALE * (b @ a).T
    renamed = {name.replace(".base_layer", ""): value for name, value in found.items()}
    model = tiny_gpt2()
    wanted = {name for name, _ in model.named_parameters()}
    model.load_state_dict({name: renamed[name] for name in wanted}, strict=False)
    return model


def wrong_effects(
    training: Training, folder: Path, weights: Mapping[int, Mapping[str, Tensor]], late: int
) -> list[str]:
    """Where a record is off the reference, as sentences.

    Args:
        training: the row.
        folder: the record's.
        weights: those after each optimizer step, and those that the training left under -1.
        late: how many optimizer steps lie between the x of a pass and its weights, 1 under Lightning.
    """
    record = Record.read(folder)
    wrong = [f"the record says: {problem}" for problem in record.problems]
    told = [note.message for note in record.notes if note.level == "warning"]
    # Nobody can listen inside a compiled function, which GradientImportance says and its documentation too.
    wrong += [f"the record says: {text}" for text in told if not (training.compiled and COMPILED in text)]
    for probe in SERIES:
        entries = [entry for entry in record.effects if entry.probe == probe]
        wrong += [f"{probe}: {text}" for text in _series(training, entries, weights, late)]
    return wrong + [f"attention: {text}" for text in _maps(training, record, weights, late)]


def _at(x: int, weights: Mapping[int, Any], late: int) -> Any:
    """The weights of a pass in mid-training: its x is that of the step's loss; the untrained model stands at −1."""
    return weights[max(x + late, 0)]


def _series(training: Training, entries: list[Any], weights: Mapping[int, Any], late: int) -> Iterator[str]:
    least = 1 if training.background or training.max_overhead else 3
    if len(entries) < least:
        yield f"has {len(entries)} passes, fewer than {least}"
    exact = [entry for entry in entries if entry.exact]

    def off(entry: Any, model: GPT2LMHeadModel) -> float:
        _, kind, metric = SERIES[entry.probe]
        wanted = sweep(model, random_pairs(), "z", kind, metric).mean(0).numpy()
        return float(np.abs(entry.mean - wanted).max() / np.abs(wanted).max())

    yield from _wrong(training, exact, weights, late, off, tolerance(training))


def _maps(training: Training, record: Record, weights: Mapping[int, Any], late: int) -> Iterator[str]:
    if not record.frames:
        yield "has no maps"

    def off(frame: Any, model: GPT2LMHeadModel) -> float:
        with torch.no_grad():
            seen = forward(model, random_pairs().clean)[1]
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.config.n_layer)]
        wanted = torch.stack([seen[name] for name in names], 1).numpy()
        maps = record.patterns(frame.step, frame.label).maps
        return float(max(np.abs(found - wanted[prompt]).max() for prompt, found in enumerate(maps)))

    yield from _wrong(training, list(record.frames), weights, late, off, max(tolerance(training), 0.003))


def _wrong(
    training: Training,
    passes: list[Any],
    weights: Mapping[int, Any],
    late: int,
    off: Callable[[Any, GPT2LMHeadModel], float],
    tolerated: float,
) -> Iterator[str]:
    """Each pass is of its step's weights or of those that the training left, of which one pass is."""
    left = plain_model(weights[-1])
    of_the_end = []
    for each in passes:
        far, far_from_the_end = off(each, plain_model(_at(each.step, weights, late))), off(each, left)
        of_the_end.append(far_from_the_end <= tolerated)
        if not min(far, far_from_the_end) <= tolerated:
            yield f"x = {each.step}: off by {far:.1e} of the largest"
    if passes and not any(of_the_end) and not training.max_overhead:
        yield "no pass is of the weights that the training left"
