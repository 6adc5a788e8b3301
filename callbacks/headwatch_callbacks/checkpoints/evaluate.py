"""Probes over saved checkpoints: many checkpoints, one record with their steps, nothing done twice.

Each process of a Lightning strategy takes its share of the checkpoints and appends to the same record. A pass costs
what its question costs; a checkpoint whose passes are all in the record is not even loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric import Fabric
from torch import nn

from headwatch.interventions.options import SweepSettings
from headwatch.model.architecture import Sizes
from headwatch.model.eval_mode import eval_mode
from headwatch.model.find import find_architecture
from headwatch.prompts.jsonl import read_lines
from headwatch.record import CheckpointEntry, Record
from headwatch_callbacks.checkpoints.duplicates import KnownCheckpoints
from headwatch_callbacks.checkpoints.load import is_lightning, load_gpt2, saved_step
from headwatch_callbacks.checkpoints.weights_hash import weights_hash
from headwatch_callbacks.questions import QUESTIONS, Moment, Question
from headwatch_callbacks.questions.prompt_source import PromptSource, TaskPairs
from headwatch_callbacks.questions.run_pass import no_progress, run_pass
from headwatch_callbacks.trackers.run_recorder import RunRecorder


class Watch(Protocol):
    """Is told how far an evaluation is."""

    def started(self, what: str) -> None:
        """Before each pass: `what` names its step and its question."""

    def advanced(self, done: int, total: int) -> None:
        """During a pass: `done` of the `total` prompt pairs are swept."""

    def finished(self) -> None:
        """After each pass, once its answers are in the record."""


@dataclass(frozen=True)
class EvalQuestions:
    """What is asked of each checkpoint.

    Attributes:
        probes: names of questions in `QUESTIONS`, such as `ablation`, `patching` and `patterns`.
        pairs: the prompt pairs: a JSON Lines file or a task.
        tokenizer: a tokenizer's name or folder; None where the pairs are token ids.
        name: what tells these series from others of the same question in one record.
        options: by name, those of the questions: `kind`, `site`, `direction`, `metric`, and those of every sweep. Each
            goes to the questions that take it; the others keep their own defaults.

    Raises:
        ValueError: an unknown probe, or an option that none of the probes takes.
    """

    probes: tuple[str, ...]
    pairs: Path | TaskPairs
    tokenizer: str | None = None
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.probes:
            raise ValueError(f"unknown probe (none); known: {', '.join(QUESTIONS)}")
        for probe in self.probes:
            QUESTIONS.find(probe)
        for option in self.options:
            takers = [probe for probe, question in QUESTIONS.items() if option in _taken(question)]
            if not set(takers) & set(self.probes):
                belongs = f"it belongs to the probe {' or '.join(takers)}" if takers else "no probe takes it"
                raise ValueError(f"{option} can't take effect: {belongs}")

    def questions(self) -> list[Question]:
        """The questions, each with the options that it takes.

        Raises:
            ValueError: an option has a value that its question does not know.
        """
        return [self._question(QUESTIONS[probe]) for probe in self.probes]

    def _question(self, kind: Any) -> Question:
        own = {name: value for name, value in self.options.items() if name in _taken(kind)}
        question: Question = kind(self.pairs, self.tokenizer, name=self.name, **own)
        return question


def _taken(question: type[Question]) -> set[str]:
    """The options that a question's class takes and that can have an effect there."""
    parameters = signature(question).parameters.values()
    named = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} - {"name"}
    of_sweeps = (
        set(SweepSettings.__annotations__) if any(p.kind is p.VAR_KEYWORD for p in parameters) else set()
    )
    return (named | of_sweeps) - question.has_no_use_for


@dataclass(frozen=True)
class EvalJob:
    """Which checkpoints are asked what, and where the answers go.

    Attributes:
        checkpoints: Hugging Face folders or names, and Lightning `.ckpt` files.
        questions: what is asked.
        record: the record's folder; passes that are in it are not repeated.
        config: for `.ckpt` files that don't say how their GPT-2 is built; see `load_gpt2`.
        prefix: for `.ckpt` files that hold several; see `load_gpt2`.
    """

    checkpoints: tuple[str, ...]
    questions: EvalQuestions
    record: Path
    config: Path | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class PendingPass:
    """One checkpoint and what is still to be asked of it, as places in the list of questions."""

    checkpoint: str
    step: int
    questions: tuple[int, ...]


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


def pending_passes(job: EvalJob) -> list[PendingPass]:
    """What is still to be done, checkpoint by checkpoint; empty when the record holds it all.

    Raises:
        FileNotFoundError: there is no such file of pairs.
        ValueError: see `steps_of`; an option has a value that its question does not know; the file of pairs is empty;
            or the record has the same series on other prompt pairs.
    """
    questions = job.questions.questions()
    done = _done(job.record, questions)
    todo = []
    for checkpoint, step in zip(job.checkpoints, steps_of(job.checkpoints), strict=True):
        places = tuple(place for place, steps in enumerate(done) if step not in steps)
        if places:
            todo.append(PendingPass(checkpoint, step, places))
    if todo and isinstance(job.questions.pairs, Path):
        read_lines(job.questions.pairs)  # before a checkpoint or a tokenizer is loaded, maybe from a hub
    return todo


def _done(folder: Path, questions: Sequence[Question]) -> list[set[int]]:
    """The steps at which each question has all its answers in a record."""
    if not (folder / "run.json").exists():
        return [set() for _ in questions]
    record = Record.read(folder)
    return [_steps_answered(record, question) for question in questions]


def _steps_answered(record: Record, question: Question) -> set[int]:
    labels = question.labels(record.sizes_as(Sizes))
    source = getattr(question, "source", None)
    for label in labels:
        if isinstance(source, PromptSource):
            _check_prompts(record, label, source)
    answered = [{entry.step for entry in record.probes if entry.label == label} for label in labels]
    return set.intersection(*answered)


def _check_prompts(record: Record, label: str, source: PromptSource) -> None:
    """Refuse to go on with a series on other prompts than it began with."""
    if label not in record.prompts:
        return
    before = record.prompts[label]
    now = source.read(record.sizes_as(Sizes))
    shown = now[: len(before.clean)]
    if len(now) != before.total or (shown.tokens, tuple(shown.answer.tolist())) != (
        before.clean,
        before.answer,
    ):
        raise ValueError(
            f"{record.directory} has {label} on {before.total} other prompt pairs: give these passes a name "
            "of their own, or another record"
        )


def evaluate(
    job: EvalJob,
    todo: Sequence[PendingPass],
    watch: Watch | None = None,
    *,
    devices: int = 1,
    accelerator: str = "auto",
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Ask what is to be asked, and write each answer as it comes.

    Args:
        job: what is asked, and where the answers go.
        todo: from `pending_passes`.
        watch: told how far it is; only where there is one process.
        devices: how many processes share the checkpoints.
        accelerator: as in Lightning: `auto`, `cpu`, `gpu`, ...
        within: what each process works within, such as a way to show its warnings.

    Raises:
        ValueError: a checkpoint or the pairs can't be used, or the record is of another model.
    """
    if devices == 1:
        with within():
            _share(Fabric(accelerator=accelerator, devices=1), job, list(todo), watch)
        return
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn")
    # Bound rather than passed: the launcher looks into its arguments, and refuses frozen dataclasses.
    fabric.launch(partial(_share_within, within=within, job=job, todo=list(todo)))


def _share_within(
    fabric: Fabric, within: Callable[[], AbstractContextManager[None]], job: EvalJob, todo: list[PendingPass]
) -> None:
    with within():
        _share(fabric, job, todo, watch=None)


def _share(fabric: Fabric, job: EvalJob, todo: list[PendingPass], watch: Watch | None) -> None:
    """This process's share of the passes."""
    questions = job.questions.questions()
    recorder: RunRecorder | None = None
    known = KnownCheckpoints(job.record)
    for each in todo[fabric.global_rank :: fabric.world_size]:
        given = (job.config, job.prefix) if is_lightning(each.checkpoint) else ()
        model = load_gpt2(each.checkpoint, *given)
        loaded = CheckpointEntry(each.step, Path(each.checkpoint).name, weights_hash(model))
        fabric.to_device(model)
        network = find_architecture(model)
        for place in each.questions:  # before the record is opened: what is refused leaves none
            questions[place].prepare(network)
        recorder = recorder or RunRecorder(job.record, network.sizes)
        known.add(loaded, recorder)
        for place in each.questions:
            _ask(questions[place], model, each, recorder, watch)
    if recorder is not None:
        recorder.finish()


def _ask(
    question: Question, model: nn.Module, at: PendingPass, recorder: RunRecorder, watch: Watch | None
) -> None:
    if watch is not None:
        watch.started(f"step {at.step}: {question.identity}")
    run_pass(
        question,
        model,
        Moment(at.step),
        recorder.write,
        within=eval_mode(model),
        progress=no_progress if watch is None else watch.advanced,
    )
    if watch is not None:
        watch.finished()
