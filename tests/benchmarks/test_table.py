"""What a benchmark leaves: the same figures as JSON and as a page, and the page in the repository is its own JSON's."""

import json
from pathlib import Path

import benchmarks
from benchmarks.measure import Measured
from benchmarks.table import markdown, save

SETTING = {"device": "cpu", "threads": 2, "repeats": 3, "layers": 12, "machine": "x86_64"}
ROWS = [
    Measured("a job", "headwatch", 2.0, 1.0, 1e-6, 200_000_000),
    Measured("a job", "plain hooks", 11.0, 0.25, 2e-6, None),
    Measured("a job", "bound", 1.9, 1.0, None, None),
]


def test_a_page_gives_ratios_shares_errors_and_memory(tmp_path):
    save(tmp_path / "results.json", SETTING, ROWS)
    page = (tmp_path / "results.md").read_text()
    assert "2 threads, medians of 3 interleaved repeats" in page
    assert "| headwatch | 2.000 | 1.00 | all | 1.0e-06 | 200 |" in page
    assert "| plain hooks | 11.000 | 5.50 | 25.0%, scaled | 2.0e-06 |  |" in page
    assert "| bound | 1.900 | 0.95 |  |  |  |" in page
    assert json.loads((tmp_path / "results.json").read_text())["rows"][1]["seconds"] == 11.0


def test_the_page_in_the_repository_shows_its_own_json():
    folder = Path(benchmarks.__file__).parent
    content = json.loads((folder / "results.json").read_text())
    rows = [Measured(**row) for row in content["rows"]]
    assert (folder / "results.md").read_text() == markdown(content["setting"], rows)
