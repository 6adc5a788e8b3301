"""What the probes of one Trainer must agree on, checked before the first step."""

from collections.abc import Iterable, Sequence
from pathlib import Path


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
