"""Probes over saved checkpoints: many checkpoints, one record with their steps, nothing done twice.

Each process of a Lightning strategy takes its share of the checkpoints and appends to the same record. A pass costs
what its question costs; a checkpoint whose passes are all in the record is not even loaded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric import Fabric
from transformers import GPT2LMHeadModel

from headwatch.model.eval_mode import probing
from headwatch.model.gpt2 import GPT2Layout, layout
from headwatch.record import CheckpointEntry, Record
from headwatch_callbacks.checkpoints.duplicates import KnownCheckpoints
from headwatch_callbacks.checkpoints.load import is_lightning, load_gpt2, saved_step
from headwatch_callbacks.checkpoints.weights_hash import weights_hash
from headwatch_callbacks.questions.ablation import HeadAblation
from headwatch_callbacks.questions.attention_maps import AttentionMaps
from headwatch_callbacks.questions.patching import ActivationPatching
from headwatch_callbacks.questions.prompt_source import TaskPairs
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.run_recorder import RunRecorder

PROBES = ("ablation", "patching", "patterns")
Asking = HeadAblation | ActivationPatching | AttentionMaps


class Watch(Protocol):
    """Is told how far an evaluation is."""

    def started(self, what: str) -> None:
        """A pass begins."""

    def advanced(self, done: int, total: int) -> None:
        """So much of so much of the pass is done."""

    def finished(self) -> None:
        """The pass is done."""


@dataclass(frozen=True)
class Questions:
    """What is asked of each checkpoint, in the words of the callbacks that ask it during training.

    Attributes:
        probes: any of `ablation`, `patching` and `patterns`.
        pairs: the prompt pairs: a JSON Lines file or a task.
        tokenizer: a tokenizer's name or folder; None where the pairs are token ids.
        kind: what ablation puts in a head's place.
        site: the activation that patching exchanges.
        direction: `denoise` or `noise`.
        by_position: patch one position at a time.
        metric: the metric of ablation and patching; None = each one's own.
        name: what tells these series from others of the same question in one record.

    Raises:
        ValueError: an unknown probe, or an option that none of the probes takes.
    """

    probes: tuple[str, ...]
    pairs: Path | TaskPairs
    tokenizer: str | None = None
    kind: str | None = None
    site: str | None = None
    direction: str | None = None
    by_position: bool = False
    metric: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        unknown = [probe for probe in self.probes if probe not in PROBES]
        if unknown or not self.probes:
            raise ValueError(f"unknown probe {', '.join(unknown) or '(none)'}; known: {', '.join(PROBES)}")
        needs = {
            "kind": ("ablation",),
            "site": ("patching",),
            "direction": ("patching",),
            "by_position": ("patching",),
            "metric": ("ablation", "patching"),
        }
        for option, takers in needs.items():
            if getattr(self, option) not in (None, False) and not set(takers) & set(self.probes):
                raise ValueError(f"{option} can't take effect: it belongs to the probe {' or '.join(takers)}")

    def callbacks(self) -> list[Asking]:
        """The probes, as the callbacks that would run them in a training.

        Raises:
            ValueError: an option has a value that its probe does not know.
        """
        return [_MAKE[probe](self) for probe in self.probes]


def _ablation(asked: Questions) -> Asking:
    own: dict[str, Any] = _given(kind=asked.kind, metric=asked.metric)
    return HeadAblation(asked.pairs, asked.tokenizer, name=asked.name, **own)


def _patching(asked: Questions) -> Asking:
    own: dict[str, Any] = _given(site=asked.site, direction=asked.direction, metric=asked.metric)
    where = asked.by_position
    return ActivationPatching(asked.pairs, asked.tokenizer, by_position=where, name=asked.name, **own)


def _patterns(asked: Questions) -> Asking:
    return AttentionMaps(asked.pairs, asked.tokenizer, name=asked.name)


def _given(**options: str | None) -> dict[str, str]:
    """The options that were given; the others keep the callback's own default."""
    return {name: value for name, value in options.items() if value is not None}


_MAKE = {"ablation": _ablation, "patching": _patching, "patterns": _patterns}


@dataclass(frozen=True)
class Evaluation:
    """Which checkpoints are asked what, and where the answers go.

    Attributes:
        checkpoints: Hugging Face folders or names, and Lightning `.ckpt` files.
        questions: what is asked.
        record: the record's folder; passes that are in it are not repeated.
        config: for `.ckpt` files that don't say how their GPT-2 is built; see `load_gpt2`.
        prefix: for `.ckpt` files that hold several; see `load_gpt2`.
    """

    checkpoints: tuple[str, ...]
    questions: Questions
    record: Path
    config: Path | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class Pass:
    """One checkpoint and what is still to be asked of it, as places in the list of probes."""

    checkpoint: str
    step: int
    probes: tuple[int, ...]


def steps_of(checkpoints: Sequence[str]) -> list[int]:
    """Where each checkpoint stands on the x axis: the step it was saved at; 0 for a single one that doesn't say.

    Raises:
        ValueError: several checkpoints, and one does not say its step or two say the same.
    """
    found = [saved_step(checkpoint) for checkpoint in checkpoints]
    if len(found) == 1:
        return [found[0] or 0]
    for checkpoint, step in zip(checkpoints, found, strict=True):
        if step is None:
            raise ValueError(
                f"{checkpoint} does not say its step, and several checkpoints go into one record: rename it so that "
                "its name ends in the step, such as checkpoint-500"
            )
    steps = [step for step in found if step is not None]
    for place, step in enumerate(steps):
        if step in steps[:place]:
            other = checkpoints[steps.index(step)]
            raise ValueError(
                f"{other} and {checkpoints[place]} are both of step {step}: give each its own record"
            )
    return steps


def plan(evaluation: Evaluation) -> list[Pass]:
    """What is still to be done, checkpoint by checkpoint; empty when the record holds it all.

    Raises:
        ValueError: see `steps_of`; an option has a value that its probe does not know; or the record has the
            same series on other prompt pairs.
    """
    probes = evaluation.questions.callbacks()
    done = _done(evaluation.record, probes)
    todo = []
    for checkpoint, step in zip(evaluation.checkpoints, steps_of(evaluation.checkpoints), strict=True):
        places = tuple(place for place, probe in enumerate(probes) if (step, probe.label) not in done)
        if places:
            todo.append(Pass(checkpoint, step, places))
    return todo


def _done(folder: Path, probes: Sequence[Asking]) -> set[tuple[int, str]]:
    if not (folder / "run.json").exists():
        return set()
    record = Record.read(folder)
    for probe in probes:
        _check_prompts(record, probe)
    return {(entry.step, entry.label) for entry in record.probes}


def _check_prompts(record: Record, probe: Asking) -> None:
    """Refuse to go on with a series on other prompts than it began with."""
    if probe.label not in record.prompts:
        return
    before = record.prompts[probe.label]
    now = probe.source.read(record.sizes_as(GPT2Layout))
    shown = now[: len(before.clean)]
    if len(now) != before.total or (shown.tokens, tuple(shown.answer.tolist())) != (
        before.clean,
        before.answer,
    ):
        raise ValueError(
            f"{record.directory} has {probe.label} on {before.total} other prompt pairs: give these passes a name "
            "of their own, or another record"
        )


def run(
    evaluation: Evaluation,
    todo: Sequence[Pass],
    watch: Watch | None = None,
    *,
    devices: int = 1,
    accelerator: str = "auto",
) -> None:
    """Ask what is to be asked, and write each answer as it comes.

    Args:
        evaluation: what is asked, and where the answers go.
        todo: from `plan`.
        watch: told how far it is; only where there is one process.
        devices: how many processes share the checkpoints.
        accelerator: as in Lightning: `auto`, `cpu`, `gpu`, ...

    Raises:
        ValueError: a checkpoint or the pairs can't be used, or the record is of another model.
    """
    if devices == 1:
        _share(Fabric(accelerator=accelerator, devices=1), evaluation, list(todo), watch)
        return
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn")
    # Bound rather than passed: the launcher looks into its arguments, and refuses frozen dataclasses.
    fabric.launch(partial(_share, evaluation=evaluation, todo=list(todo), watch=None))


def _share(fabric: Fabric, evaluation: Evaluation, todo: list[Pass], watch: Watch | None) -> None:
    """This process's share of the passes."""
    probes = evaluation.questions.callbacks()
    recorder: RunRecorder | None = None
    known = KnownCheckpoints(evaluation.record)
    for each in todo[fabric.global_rank :: fabric.world_size]:
        given = (evaluation.config, evaluation.prefix) if is_lightning(each.checkpoint) else ()
        model = load_gpt2(each.checkpoint, *given)
        loaded = CheckpointEntry(each.step, Path(each.checkpoint).name, weights_hash(model))
        fabric.to_device(model)
        recorder = recorder or RunRecorder(evaluation.record, layout(model))
        known.add(loaded, recorder)
        for place in each.probes:
            recorder.write(_ask(probes[place], model, each, watch))
    if recorder is not None:
        recorder.finish()


def _ask(probe: Asking, model: GPT2LMHeadModel, at: Pass, watch: Watch | None) -> ProbeResult:
    if watch is not None:
        watch.started(f"step {at.step}: {probe.label}")
    started = time.perf_counter()
    probe.prepare(model)
    with probing(model):
        found = probe.measure(model, _ignore if watch is None else watch.advanced)  # type: ignore[arg-type]
    result = ProbeResult(probe.probe, probe.label, at.step, 0, time.perf_counter() - started, **vars(found))
    if watch is not None:
        watch.finished()
    return result


def _ignore(done: int, total: int) -> None:
    """Show no progress."""
