"""What a probe asks of a model, in a form that any trainer can put to it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from headwatch.interventions.arguments import shown
from headwatch.model.architecture import Architecture, Sizes
from headwatch.registry import Registry
from headwatch_callbacks.questions.pass_plan import Plan, Spare
from headwatch_callbacks.questions.result import ProbeResult

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Moment:
    """When a question is asked.

    Attributes:
        step: the optimizer step at which the answer stands.
        epoch: its epoch.
    """

    step: int
    epoch: int = 0


class Question(ABC):
    """One question, which knows the prompts that it is about and no trainer.

    Example:
        >>> from headwatch_callbacks.questions.result import ProbeResult
        >>> class Copying(Question):
        ...     probe = asked = "copying"
        ...     def measure(self, model, at, progress):
        ...         scores = {"copying": hw.copying_scores(model)}
        ...         return [ProbeResult(self.probe, self.identity, at.step, at.epoch, scores=scores)]
        >>> trainer = L.Trainer(callbacks=[ProbeCallback(Copying(), every_n_epochs=1)])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).scores[-1].label
        'copying'

    Subclasses say what is asked (`asked`), read what they need (`prepare`) and ask it (`measure`).

    Args:
        name: what tells this question from another one that asks the same, such as the prompts' name.

    Raises:
        ValueError: a name that no series can end in; see `check_name`.
    """

    probe: ClassVar[str]
    has_no_use_for: ClassVar[frozenset[str]] = frozenset()
    reads_model: ClassVar[bool] = True  # else a sharded one isn't gathered for it

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            check_name(name)
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identity!r})"

    @property
    @abstractmethod
    def asked(self) -> str:
        """What is asked, such as `ablation/z/mean/loss`; the same before and after `prepare`."""

    @property
    def identity(self) -> str:
        """What tells this question from all others of a run: what is asked, and its name where it has one."""
        return self._named(self.asked)

    def labels(self, sizes: Sizes) -> tuple[str, ...]:
        """The series that its answers belong to, one or several, on a model of these sizes."""
        return (self.identity,)

    def prepare(self, network: Architecture) -> None:  # noqa: B027 - a question may have nothing to read
        """Read what passes need, and refuse what can't be used on a model, before the first of them.

        Raises:
            FileNotFoundError: there is no such file of prompts.
            ValueError: prompts or options that can't be used.
        """

    def spare(self, network: Architecture) -> Spare:
        """What can be left out of it where a training can't pay for it, once it is prepared; nothing by default."""
        return Spare()

    def reduced(self, plan: Plan) -> "Question":
        """The same question with some of that left out."""
        return self

    def parts(self, n_parts: int) -> Sequence["Question"]:
        """The question in so many parts or fewer, for as many processes; only itself where it has none."""
        return (self,)

    def joined(self, answers: Sequence[Sequence[ProbeResult]]) -> Sequence[ProbeResult]:
        """The answer, from those of all its parts, in their order."""
        (whole,) = answers
        return whole

    @abstractmethod
    def measure(self, model: nn.Module, at: Moment, progress: Progress) -> Sequence[ProbeResult]:
        """Ask it of a model in evaluation mode, without gradients; an answer a series.

        `seconds` of the answers is filled in by `run_pass`.
        """

    def _named(self, asked: str) -> str:
        return asked if self.name is None else f"{asked}/{self.name}"


def check_name(name: object) -> None:
    """Refuse what no series can end in: trackers and files take series for paths, and pages show them as text.

    Raises:
        ValueError: it is no text, empty, too long, a path that leads elsewhere, or has signs that can't be shown.
    """
    if not isinstance(name, str):
        raise ValueError(f"name={shown(name)}: give a text")
    parts = name.split("/")
    if any(part.strip() in ("", ".", "..") for part in parts) or "\\" in name or not name.isprintable():
        raise ValueError(
            f"name={ascii(name)[:60]}: give words that can be shown, such as 'long prompts', with no '..', no backslash"
            " and no '/' at an end"
        )
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"name={shown(name)}: {len(name)} signs, give {_LONGEST_NAME} at most")


_LONGEST_NAME = 200
QUESTIONS: Registry[type[Question]] = Registry("probe")
