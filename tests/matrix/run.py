"""The matrix: each row trained with the probes and without, and compared column by column.

`python -m tests.matrix.run` trains every row and writes what it found into the documentation.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.matrix import hf_training, lightning_training, processes
from tests.matrix.effects import wrong_effects
from tests.matrix.mistakes import MISTAKES, WRONG_EFFECTS, Mistake, Planted
from tests.matrix.rows import ROWS, Row
from tests.matrix.trace import COLUMNS, compare
from tests.matrix.training import Training

EFFECTS = "effects"
TRAINERS = {"Lightning": lightning_training.trained, "transformers": hf_training.trained}
STEPS_BEFORE = {"Lightning": 1, "transformers": 0}  # from the x of a pass to its weights


@dataclass(frozen=True)
class Found:
    """What a row came to.

    Attributes:
        wrong: by column, where the two trainings differ, and where effects are off the reference.
        seconds: how long it took.
    """

    row: Row
    wrong: dict[str, list[str]]
    seconds: float

    def __str__(self) -> str:
        said = [f"  {column}: {'; '.join(places)}" for column, places in self.wrong.items() if places]
        return "\n".join([f"{'WRONG' if said else 'same'}  {self.row.name} ({self.seconds:.0f} s)", *said])


def run_row(row: Row) -> Found:
    """Train a row without probes and with them."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        try:
            wrong = _differences(row, Path(name))
        except RuntimeError as error:
            wrong = {column: [str(error)] for column in COLUMNS[:1]}
    return Found(row, wrong, time.monotonic() - started)


def _differences(row: Row, folder: Path) -> dict[str, list[str]]:
    training, train, ranks = row.training, TRAINERS[row.trainer], row.training.processes
    runs = []
    for probed in (False, True):
        place = folder / ("with" if probed else "without")
        runs.append(processes.run(train, training, place, probed, folder=place, ranks=ranks))
    wrong: dict[str, list[str]] = {column: [] for column in COLUMNS}
    for rank, ((bare, _), (probed, _)) in enumerate(zip(*runs, strict=True)):
        for column, places in compare(bare, probed).items():
            wrong[column] += [f"rank {rank}: {place}" if ranks > 1 else place for place in places]
    weights = runs[1][0][1]
    late = STEPS_BEFORE[row.trainer]
    return wrong | {EFFECTS: wrong_effects(training, folder / "with" / "record", weights, late)}


def run_rows(rows: Sequence[Row], jobs: int) -> list[Found]:
    """Every row, some at a time; each is printed as it ends."""

    def one(row: Row) -> Found:
        found = run_row(row)
        print(found, flush=True)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, rows))


def run_mistakes(jobs: int) -> dict[str, list[str]]:
    """Each planted mistake, and the columns in which it shows."""
    trainings = {mistake.training for mistake in MISTAKES}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        folder = Path(name)

        def train(number: int, training: Training, planted: Sequence[Any]) -> Any:
            place = folder / str(number)
            function = lightning_training.trained
            return processes.run(function, training, place, False, planted, folder=place)[0][0]

        plain = {t: pool.submit(train, -1 - n, t, []) for n, t in enumerate(trainings)}
        traces = [pool.submit(train, n, m.training, [Planted(m)]) for n, m in enumerate(MISTAKES)]

        def columns(mistake: Mistake, trace: Any) -> list[str]:
            return [
                c for c, places in compare(plain[mistake.training].result(), trace.result()).items() if places
            ]

        shown = {m.what: columns(m, trace) for m, trace in zip(MISTAKES, traces, strict=True)}
        return shown | {what: _wrong_effects(what, folder) for what in WRONG_EFFECTS}


def _wrong_effects(what: str, folder: Path) -> list[str]:
    plant, training = WRONG_EFFECTS[what]
    place = folder / "effects" / what.replace(" ", "-")
    _, weights = processes.run(
        lightning_training.trained, training, place, False, [plant(place)], folder=place
    )[0]
    wrong = wrong_effects(training, place / "record", weights, 1)
    return [EFFECTS] if any(text.startswith("ablation") for text in wrong) else []


def main() -> None:
    """Run everything, and write the table."""
    from tests.matrix.document import write

    found = run_rows(sorted(ROWS, key=lambda row: row.training.backend != "inductor"), jobs=2)
    shown = run_mistakes(jobs=2)
    write(found, shown)
    missed = [what for what, columns in expected_columns().items() if columns not in shown[what]]
    for what in missed:
        print(f"MISSED  {what}")
    sys.exit(bool(missed) or any(any(each.wrong.values()) for each in found))


def expected_columns() -> dict[str, str]:
    """The column in which each mistake must show."""
    return {m.what: m.column for m in MISTAKES} | dict.fromkeys(WRONG_EFFECTS, EFFECTS)


if __name__ == "__main__":
    main()
