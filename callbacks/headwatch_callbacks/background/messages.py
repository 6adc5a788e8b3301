"""What a training and its worker process say to each other; the weights lie in the memory that they share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from headwatch.model.eval_mode import eval_mode
from headwatch_callbacks.background.snapshot import Stored
from headwatch_callbacks.questions.question import Moment
from headwatch_callbacks.questions.result import ProbeResult


@dataclass(frozen=True)
class Precision:
    """In which precision passes run.

    Attributes:
        autocast: the dtype of autocast; None where there is none.
        matmul: what `torch.get_float32_matmul_precision` says.
    """

    autocast: torch.dtype | None
    matmul: str

    @classmethod
    def current(cls, device: torch.device) -> "Precision":
        """That of the code around this, for a device."""
        on = torch.is_autocast_enabled(device.type)
        return cls(
            torch.get_autocast_dtype(device.type) if on else None, torch.get_float32_matmul_precision()
        )

    @contextmanager
    def applied(self, model: nn.Module, device: torch.device) -> Iterator[None]:
        """Evaluation mode, no gradients, and this precision."""
        torch.set_float32_matmul_precision(self.matmul)
        autocast = torch.autocast(device.type, self.autocast, enabled=self.autocast is not None)
        with eval_mode(model), autocast:
            yield


@dataclass(frozen=True)
class Request:
    """One pass.

    Attributes:
        question: where the question is.
        model: where the model is; None for the model of the request before.
        at: when the weights were so.
        precision: in which precision.
    """

    question: Stored
    model: Stored | None
    at: Moment
    precision: Precision


@dataclass(frozen=True)
class Answer:
    """What came of a pass.

    Attributes:
        results: one a series; none where it failed.
        error: what it failed with, as a text, for exceptions may not be picklable.
        loaded: whether question and model could be read at all.
        warned: the warnings of the pass, each with its category.
    """

    results: Sequence[ProbeResult] = ()
    error: str | None = None
    loaded: bool = True
    warned: Sequence[tuple[str, type[Warning]]] = ()
