"""What the probes of one Trainer must agree on, checked before the first step."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import lightning.pytorch as pl


def check_labels(labels: Sequence[str]) -> None:
    """Refuse two probes of one label: neither their series nor their states in a checkpoint could be told apart.

    Raises:
        ValueError: there are two.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"this Trainer has {labels.count(label)} probes {label!r}: tell them apart with name=, such as"
                " name='long prompts'"
            )


def one_record(folders: Iterable[Path | None]) -> Path | None:
    """The folder of the record that all probes share; None where none of them names one.

    Raises:
        ValueError: they name several.
    """
    named = sorted({folder for folder in folders if folder is not None})
    if len(named) > 1:
        raise ValueError(
            f"the probes of one trainer share a record, and record= names {' and '.join(map(str, named))}"
        )
    return named[0] if named else None


def after_the_others(callbacks: Sequence[pl.Callback], probes: Sequence[pl.Callback]) -> list[pl.Callback]:
    """The callbacks of a Trainer with its probes behind all others but those that write checkpoints.

    So a probe sees the weights that the others leave (averages at the end of `fit`, their own again after a
    validation), in whatever order the user has named them, and a checkpoint can be chosen by what it found.
    """
    others = [callback for callback in callbacks if callback not in probes]
    last = [callback for callback in others if _writes_checkpoints(callback)]
    return [*(callback for callback in others if callback not in last), *probes, *last]


def _writes_checkpoints(callback: pl.Callback) -> bool:
    # By name: the same class exists in `lightning.pytorch` and in `pytorch_lightning`.
    return "Checkpoint" in {kind.__name__ for kind in type(callback).__mro__}
