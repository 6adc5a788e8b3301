"""A training's claim to a record: a new one, the one that its checkpoint names, or the place of one that was killed."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from headwatch.record.description import Description, check_no_lines, read_description
from headwatch.record.owner import Owner, Ownership, check_free, current_owner, take

_MOVED = ("probes.jsonl", "attn", "per_pair", "report.html")


@dataclass(frozen=True, eq=False)
class Claim:
    """A record that this process may train into.

    Attributes:
        ownership: the record, until it is released.
        told: what a reader of the record should know of how it began or went on.
    """

    ownership: Ownership
    told: tuple[str, ...] = ()


def claim(directory: Path, *, goes_on: bool = False, run: str | None = None) -> Claim:
    """Make this process the one that trains into a record, which is made where it is missing.

    A new run may take the place of one that was killed or interrupted, whose files are kept in the folder `attempt-1`
    inside the record: a job that died before its first checkpoint starts anew with the same arguments.

    Args:
        directory: the record's directory.
        goes_on: whether training goes on from a checkpoint, rather than starts anew.
        run: the identity of the run that the checkpoint is of; None where it doesn't say.

    Raises:
        ValueError: another process trains into it, it is the record of another run, or it holds lines of which nothing
            says what they are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        _check(directory, current_owner(directory), goes_on, run)
    except (ValueError, OSError):
        check_free(directory, current_owner(directory))  # another process may be setting the record aside
        raise
    ownership = take(directory)
    try:
        # Once more, now that nobody else can take it.
        _check(directory, ownership.previous, goes_on, run)
        told = _prepare(directory, ownership.previous, goes_on, run)
    except BaseException:
        ownership.abandon()
        raise
    ownership.forget_earlier()
    return Claim(ownership, told)


def _check(directory: Path, owner: Owner | None, goes_on: bool, run: str | None) -> None:
    check_free(directory, owner)
    known = _described(directory)
    if known is None or _is_same(known, goes_on, run) or _is_unfinished(owner):
        return
    if goes_on:
        raise ValueError(
            f"{directory} holds the record of another run than the checkpoint's: give another record=, or leave it out"
        )
    raise ValueError(
        f"{directory} already holds the record of another run: give another record=, delete that folder, or go on with"
        " that run from its checkpoint, by trainer.fit(ckpt_path=...) or trainer.train(resume_from_checkpoint=...)"
    )


def _prepare(directory: Path, previous: Owner | None, goes_on: bool, run: str | None) -> tuple[str, ...]:
    known = _described(directory)
    if known is None:
        return ()
    ended = "" if previous is None or previous.state == "finished" else f" after {_how_ended(previous)}"
    if _is_same(known, goes_on, run):
        return (f"training goes on in this record{ended}",)
    kept = _set_aside(directory)
    return (f"training starts anew{ended}: the record of that attempt is kept in {kept.name}",)


def _is_same(known: Description, goes_on: bool, run: str | None) -> bool:
    """Whether the record is that of the run; what an earlier headwatch wrote is known by its name alone."""
    return goes_on and (run is None or known.id in ("", run))


def _is_unfinished(owner: Owner | None) -> bool:
    return owner is not None and owner.state != "finished"


def _how_ended(owner: Owner) -> str:
    how = "was interrupted" if owner.state == "interrupted" else "ended without a word"
    return f"{owner.described} {how}"


def _described(directory: Path) -> Description | None:
    check_no_lines(directory)
    return read_description(directory) if (directory / "run.json").exists() else None


def _set_aside(directory: Path) -> Path:
    """Move a record into a folder inside it. Its description goes last: a kill in between leaves two records."""
    for turn in itertools.count(1):
        kept = directory / f"attempt-{turn}"
        if not kept.exists():
            break
    kept.mkdir()
    (kept / "run.json").write_bytes((directory / "run.json").read_bytes())
    for name in _MOVED:
        if (directory / name).exists():
            os.replace(directory / name, kept / name)
    os.unlink(directory / "run.json")
    return kept
