"""The figures of the estimates: a whole run on tables of a tiny model, and the page that shows its own JSON."""

import json
from pathlib import Path

import pytest
import torch

import benchmarks.estimates
from benchmarks.estimates.from_table import estimator
from benchmarks.estimates.run import Row, markdown, rows_of, save
from benchmarks.estimates.tables import tables
from tests.models import random_pairs, tiny_gpt2

PAIRS = random_pairs(n=24, length=14, shared=4)


@pytest.fixture(scope="module")
def table():
    return tables(tiny_gpt2(), PAIRS, "mean", ["logit_diff"])[0]


def test_each_way_of_answering_gives_its_figures(table):
    exact, *estimated = rows_of("a question", table, n_draws=20, n_pairs=16)
    assert exact.way == "exact sweep"
    assert (exact.cost, exact.runs, exact.runs_most, exact.suspect) == (1, 16, 16, 0)
    assert exact.error_median == pytest.approx(1, abs=0.5)
    assert len(estimated) == 3
    for row in estimated:
        assert 4 <= row.runs <= row.runs_most <= 16
        assert 0.5 < row.error_median <= row.error_worst < 5


def test_an_estimate_from_a_table_has_the_tables_values_where_it_made_exact_runs(table):
    found = estimator(table)(table, 0)
    run = ~found.exact_values.isnan()
    assert 4 * 12 <= run.sum() <= run.numel()
    torch.testing.assert_close(found.exact_values[run], table.exact[run])
    assert torch.equal(found.n_exact, run.sum(0))


def test_a_page_gives_every_figure(tmp_path):
    row = Row("a question", "exact", 0.25, 1.01, 1.3, 0.021, 0.95, 0.7, 0.9, 0.02, 5.4, 40.2)
    save(tmp_path / "results.json", [row], 500, 64)
    page = (tmp_path / "results.md").read_text()
    assert "500 draws of 64 pairs each" in page
    assert "## a question" in page
    assert "| exact | 1/4.0 | 1.01 | 1.30 | 2.1% | 0.950 | 0.700 | 0.900 | 2.0% | 5 | 40 |" in page
    assert json.loads((tmp_path / "results.json").read_text())["rows"][0]["cost"] == 0.25


def test_the_page_in_the_repository_shows_its_own_json():
    folder = Path(benchmarks.estimates.__file__).parent
    content = json.loads((folder / "results.json").read_text())
    rows = [Row(**row) for row in content["rows"]]
    assert (folder / "results.md").read_text() == markdown(rows, content["draws"], content["pairs"])
