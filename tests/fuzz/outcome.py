"""What `headwatch eval` makes of a damaged input: it works, or says in one sentence what is wrong with which file."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from typer.testing import CliRunner

from headwatch_callbacks.cli import app
from tests.fuzz.checkpoints import (
    Damage,
    copy,
    folder_cases,
    lightning_cases,
    pair_cases,
    write_sound_folder,
    write_sound_lightning,
    write_sound_pairs,
)


@dataclass(frozen=True)
class EvalCase:
    """One damaged input of `headwatch eval`.

    Attributes:
        kind: what is damaged: `folder`, `lightning` or `pairs`.
        name: how.
        damage: does it, to a sound copy.
    """

    kind: str
    name: str
    damage: Damage


def eval_cases(seed: int = 0) -> Iterator[EvalCase]:
    """All of them, some 2,000."""
    for kind, cases in (
        ("folder", folder_cases(seed)),
        ("lightning", lightning_cases(seed)),
        ("pairs", pair_cases(seed)),
    ):
        for name, damage in cases:
            yield EvalCase(kind, name, damage)


@cache
def sound(work: Path) -> dict[str, Path]:
    """A sound input of each kind, written once a folder."""
    return {
        "folder": write_sound_folder(work / "sound"),
        "lightning": write_sound_lightning(work / "sound.ckpt"),
        "pairs": write_sound_pairs(work / "sound.jsonl"),
    }


def mistake(case: EvalCase, work: Path) -> str | None:
    """What is wrong with how the command line took a case; None where nothing is.

    Args:
        case: the case.
        work: a folder for its files, which may hold those of earlier cases.
    """
    inputs, place = dict(sound(work)), work / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    damaged = copy(inputs[case.kind], place / {"lightning": "a.ckpt"}.get(case.kind, "a-30"))
    case.damage(damaged)
    inputs[case.kind] = damaged
    checkpoint = inputs["lightning" if case.kind == "lightning" else "folder"]
    arguments = ["eval", checkpoint, "--pairs", inputs["pairs"], "--tokenizer", inputs["folder"]]
    arguments += ["--probe", "ablation", "--kind", "zero", "-o", place / "record"]
    result = CliRunner().invoke(app, [str(part) for part in arguments], env={"COLUMNS": "200"})
    if not isinstance(result.exception, SystemExit | None):
        return f"a traceback: {result.exception!r}"
    return _unclear(result.exit_code, result.output, str(damaged))


def _unclear(code: int, output: str, damaged: str) -> str | None:
    if code == 0:
        return None
    said = [line for line in output.splitlines() if line.startswith("headwatch: ")]
    errors = [line for line in said if not line.startswith("headwatch: warning:")]
    if code != 1 or len(errors) != 1:
        return f"exit code {code}, {len(errors)} sentences: {output}"
    # A tokenizer that reads otherwise than before shows in the pairs that it can't take.
    return None if damaged in errors[0] or "tokenizer" in errors[0] else f"{damaged} is not named: {output}"
