"""Estimates held to the exact sweep, question by question: cost, error, and coverage of 95 % intervals.

    python -m benchmarks.estimates.run [--tables runs/estimates] [--draws 500]

draws from the tables that `benchmarks.estimates.tables` writes, prints the figures, and writes results.json and the
same as results.md beside this file.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console

from benchmarks.estimates.cost import gpt2_small_costs
from benchmarks.estimates.coverage import Draws, Estimator, draw, exact_sweep
from benchmarks.estimates.from_table import estimator
from benchmarks.estimates.prompts import LENGTH
from benchmarks.estimates.tables import KINDS, METRICS, MODELS, Table

HERE = Path(__file__).parent
TARGETS = ("exact", "2%")
HEADINGS = (
    "", "cost", "error, median", "worst head", "of largest effect", "covered, mean", "worst head",
    "worst not suspect", "suspect", "runs, median", "most",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What came of one way of answering one question.

    Attributes:
        question: the model, its step, what replaces a head, and the metric.
        way: `exact sweep`, or the target that was asked for and whose prices were paid.
        cost: share of the exact sweep, in forward-equivalents.
        error_median: root mean square error of the median head, in standard errors of the exact sweep.
        error_worst: of the worst head.
        error_of_largest: the largest such error of a head, as a share of the largest effect.
        covered: share of 95 % intervals that hold the truth, over draws and heads.
        covered_worst: of the worst head.
        covered_trusted: of the worst head that most draws don't mark as suspect.
        suspect: share of heads and draws that are marked.
        runs: exact runs of the median head.
        runs_most: of the head that needs most.
    """

    question: str
    way: str
    cost: float
    error_median: float
    error_worst: float
    error_of_largest: float
    covered: float
    covered_worst: float
    covered_trusted: float
    suspect: float
    runs: float
    runs_most: float

    @classmethod
    def of(cls, question: str, way: str, draws: Draws) -> "Row":
        """The figures of some draws."""
        runs = draws.n_exact.mean(0)
        return cls(
            question, way, float(draws.cost.mean()),
            float(draws.relative_error.median()), float(draws.relative_error.max()), draws.error_of_largest,
            float(draws.coverage.mean()), float(draws.coverage.min()), draws.worst_trusted_coverage,
            float(draws.suspect.double().mean()), float(runs.median()), float(runs.max()),
        )  # fmt: skip


def ways(table: Table) -> Iterator[tuple[str, Estimator]]:
    """The ways of answering a table's question that are compared, by name."""
    n_layers, n_heads = table.exact.shape[1:]
    changed = LENGTH - round(float(table.pairs.first_difference.double().mean()))
    large = gpt2_small_costs(n_layers, n_heads, table.kind, changed)
    yield "exact sweep", exact_sweep
    for target in TARGETS:
        yield f"{target}, at GPT-2 small's prices", estimator(table, target, costs=large)
    if table.kind == "mean":
        yield f"{TARGETS[0]}, at its own prices", estimator(table, TARGETS[0])


def rows_of(question: str, table: Table, n_draws: int, n_pairs: int) -> list[Row]:
    """Every way of answering one question."""
    return [Row.of(question, way, draw(table, estimate, n_draws, n_pairs)) for way, estimate in ways(table)]


def questions(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every question that is asked, in words, and its table: by the loss only once a model has learned."""
    for trained in MODELS:
        for word, step in trained.steps.items():
            for kind in KINDS:
                for metric in METRICS if word == "late" else METRICS[:1]:
                    asked = "mean ablation" if kind == "mean" else "denoising"
                    words = f"{trained.name}, step {step}: {asked}, {metric}"
                    yield words, folder / f"{trained.name}-{word}-{kind}-{metric}.pt"


def markdown(rows: Sequence[Row], n_draws: int, n_pairs: int) -> str:
    """The figures as a page."""
    lines = [
        "# What estimates cost, how far off they are, and how often their intervals hold",
        "",
        f"{n_draws} draws of {n_pairs} pairs each. Cost is a share of the exact sweep on the same pairs, errors are in "
        "its standard errors, coverage is of 95 % intervals. docs/estimates.md says what each row and column is.",
    ]
    for question, some in groupby(rows, lambda row: row.question):
        lines += ["", f"## {question}", "", _line(HEADINGS), _line(["---", *["---:"] * (len(HEADINGS) - 1)])]
        lines += [_line(_cells(row)) for row in some]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    cost = "1" if row.cost == 1 else f"1/{1 / row.cost:.1f}"
    errors = (f"{row.error_median:.2f}", f"{row.error_worst:.2f}", f"{row.error_of_largest:.1%}")
    covered = (f"{each:.3f}" for each in (row.covered, row.covered_worst, row.covered_trusted))
    return (row.way, cost, *errors, *covered, f"{row.suspect:.1%}", f"{row.runs:.0f}", f"{row.runs_most:.0f}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def save(path: Path, rows: Sequence[Row], n_draws: int, n_pairs: int) -> None:
    """Write every figure as JSON, and as a page of Markdown beside it."""
    content = {"draws": n_draws, "pairs": n_pairs, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(rows, n_draws, n_pairs))


def main() -> None:
    """Draw, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=Path("runs/estimates"))
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=64, help="of each draw")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    given, rows, console = parser.parse_args(), list[Row](), Console(width=150)
    for question, path in questions(given.tables):
        some = rows_of(question, Table.load(path), given.draws, given.pairs)
        console.print(question, *(" ".join(_cells(row)) for row in some), sep="\n  ")
        rows += some
        save(given.out, rows, given.draws, given.pairs)


if __name__ == "__main__":
    main()
