"""All that one training asks in the background: what is under way, what was skipped, what can't be asked so."""

from collections.abc import Callable
from enum import Enum
from typing import final

import torch
from torch import nn

from headwatch_callbacks.background.messages import Answer, Precision
from headwatch_callbacks.background.process import Pass, Worker, WorkerDied
from headwatch_callbacks.questions.question import Moment, Question
from headwatch_callbacks.questions.result import ProbeResult


class Taken(Enum):
    """What became of a question."""

    UNDER_WAY = "it is being answered"
    SKIPPED = "it came while another one was being answered"
    NOT_HERE = "it can't be asked in the background"


@final
class BackgroundPasses:
    """The passes that one training has under way in worker processes, one process a device.

    A worker holds one snapshot. Questions that are due at one step share it; one that comes due while a worker is
    busy with older weights is skipped.

    Args:
        write: takes each result.
        note: takes what the record's reader should know, a level and a message.
        warn: warns the user.
    """

    def __init__(
        self,
        write: Callable[[ProbeResult], None],
        note: Callable[[str, str], None],
        warn: Callable[[str, type[Warning]], None],
    ) -> None:
        self._write, self._note, self._warn = write, note, warn
        self._workers: dict[torch.device, Worker] = {}
        self._dead: set[torch.device] = set()
        self._not_here: set[str] = set()
        self._skipped: dict[str, list[int]] = {}

    def ask(
        self,
        question: Question,
        model: nn.Module,
        at: Moment,
        *,
        device: torch.device,
        precision: Precision,
        failed: Callable[[str], None],
    ) -> Taken:
        """Snapshot the weights and have a worker ask the question; raises nothing.

        Args:
            question: the question, prepared for this model.
            model: the model.
            at: when this is.
            device: where the pass runs.
            precision: in which precision.
            failed: told what the pass failed with, later.
        """
        if question.identity in self._not_here:
            return Taken.NOT_HERE
        self.collect()
        if device in self._dead:
            return self._skip(question, at)
        try:
            worker = self._workers.get(device) or self._start(device, model)
            taken = worker.ask(Pass(question, at, failed), model, precision)
        except WorkerDied as error:
            self._lose(device, error)
            return self._skip(question, at)
        except Exception as error:  # whatever pickling a user's module raises
            self._leave(question, f"{type(error).__name__}: {error}")
            return Taken.NOT_HERE
        return Taken.UNDER_WAY if taken else self._skip(question, at)

    def collect(self, wait: bool = False) -> None:
        """Hand on the answers that are there.

        Args:
            wait: wait for all that is under way.
        """
        for device, worker in list(self._workers.items()):
            try:
                while (found := worker.poll(wait)) is not None:
                    self._take(*found)
            except WorkerDied as error:
                self._lose(device, error)

    def has_answer(self) -> bool:
        """Whether `collect` would find something; a few microseconds."""
        return any(worker.has_answer() for worker in self._workers.values())

    @property
    def under_way(self) -> list[Pass]:
        """The passes that are not answered yet."""
        return [asked for worker in self._workers.values() for asked in worker.under_way]

    def finish(self) -> None:
        """Wait for what is under way, note what was skipped, and end the workers."""
        self.collect(wait=True)
        for label, steps in self._skipped.items():
            named = ", ".join(map(str, steps[:20])) + (", ..." if len(steps) > 20 else "")
            passes = "1 pass" if len(steps) == 1 else f"{len(steps)} passes"
            self._note("info", f"the probe {label} skipped {passes} in the background: after {named}")
        self._skipped = {}
        self.close()

    def close(self) -> None:
        """End the workers, whatever is under way."""
        for worker in self._workers.values():
            worker.close(at_once=bool(worker.under_way))
        self._workers = {}

    def _start(self, device: torch.device, model: nn.Module) -> Worker:
        self._workers[device] = Worker(device, model)
        return self._workers[device]

    def _take(self, asked: Pass, answer: Answer) -> None:
        for message, category in answer.warned:
            self._warn(message, category)
        if not answer.loaded:
            self._skip(asked.question, asked.at)
            self._leave(asked.question, f"the other process found {answer.error}")
        elif answer.error is not None:
            asked.failed(answer.error)
        for result in answer.results:
            self._write(result)

    def _skip(self, question: Question, at: Moment) -> Taken:
        self._skipped.setdefault(question.identity, []).append(at.step)
        return Taken.SKIPPED

    def _leave(self, question: Question, why: str) -> None:
        """Ask a question in the foreground from now on."""
        if question.identity not in self._not_here:
            self._not_here.add(question.identity)
            message = (
                f"background can't take effect for the probe {question.identity}, which holds up the training"
                f" instead: {why}"
            )
            self._note("warning", message)
            self._warn(message, UserWarning)

    def _lose(self, device: torch.device, error: WorkerDied) -> None:
        """Ask nothing more of a worker that has died."""
        worker = self._workers.pop(device)
        self._dead.add(device)
        for asked in worker.under_way:
            self._skip(asked.question, asked.at)
        worker.close(at_once=True)
        message = f"{error}; training goes on, and passes until its end are skipped"
        self._note("warning", message)
        self._warn(message, UserWarning)
