"""Estimates look like estimates: hollow marks, intervals of their own, hatching, and words; exact values don't."""

from itertools import pairwise

import numpy as np
import pytest

from headwatch.page import report
from headwatch.record import Record
from tests.headwatch.page.browser import HEADS, place_of, settle
from tests.headwatch.page.estimated_run import EXACT_STEPS, N_EXACT, SUSPECT, write_estimated_run
from tests.headwatch.page.test_pictures import SVG, saved

# Percentage points of Student's t at 97.5 % for 3, 12.5 and 47 degrees of freedom; the middle one lies between those
# of 12 (2.1788) and 13 (2.1604).
QUANTILES = np.tile([3.1824, 2.1692, 2.0117], 48).reshape(12, 12)


@pytest.fixture(scope="module")
def estimated_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimated")
    write_estimated_run(folder / "run")
    return report([folder / "run"], folder / "report.html")


def entry_at(file, step):
    found = [e for e in Record.read(file.parent / "run").effects if e.step == step and e.probe == "ablation"]
    assert len(found) == 1
    return found[0]


def test_each_estimate_has_the_interval_of_its_own_degrees_of_freedom(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=160")
    half = page.evaluate(
        "[...Array(144).keys()].map((c) => heads.view.series.half(heads.view.index, c, false))"
    )
    expected = QUANTILES * entry_at(estimated_file, 160).stderr
    np.testing.assert_allclose(np.reshape(half, (12, 12)), expected, rtol=1.5e-3)


def test_marks_take_those_degrees_of_freedom_too(open_page, estimated_file):
    marked = "[...Array(144).keys()].filter((c) => heads.view.series.marked(heads.view.index, c))"
    page = open_page(f"{estimated_file.as_uri()}#step=160")
    # With 3 degrees of freedom, p is at most 0.05 · 144 / 144 only beyond 3.18 standard errors.
    entry = entry_at(estimated_file, 160)
    outside = np.flatnonzero(np.abs(entry.mean) <= QUANTILES * entry.stderr)
    found = page.evaluate(marked)
    assert found
    assert not set(found) & set(outside.tolist())
    with_many = np.abs(entry.mean / entry.stderr) > 2.0117
    assert (with_many & (np.abs(entry.mean) <= QUANTILES * entry.stderr)).any()


def test_exact_and_estimated_passes_are_one_series(open_page, estimated_file):
    page = open_page(estimated_file.as_uri())
    assert page.evaluate("heads.view.series.steps") == [0, 40, 80, 120, 160]
    exact = page.evaluate("heads.view.series.points.map((p) => p.estimate === null)")
    assert exact == [step in EXACT_STEPS for step in (0, 40, 80, 120, 160)]
    assert "first-order" not in page.locator("#heads-caption").inner_text()


def test_estimated_marks_are_hollow_and_suspect_heads_hatched(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=160")
    marked = np.zeros(144, bool)
    marked[
        page.evaluate("[...Array(144).keys()].filter((c) => heads.view.series.marked(heads.view.index, c))")
    ] = 1
    hollow = marked.reshape(12, 12) & (N_EXACT < 48)
    _, root = saved(page, "heads")
    circles = [path for path in root.iter(f"{SVG}path") if "A" in path.get("d")]
    rings = [path for path in circles if path.get("stroke")]
    assert len(rings) == hollow.sum() > 3
    hatches = [path for path in root.iter(f"{SVG}path") if path.get("opacity") == "0.45"]
    assert len(hatches) == 3 * SUSPECT.sum()
    key = page.locator("#heads-key").inner_text()
    assert "○ stands out, estimated from some pairs" in key
    assert f"▨ interval not to be trusted ({SUSPECT.sum()})" in key


def test_an_exact_pass_has_dots_and_no_key(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=80")
    _, root = saved(page, "heads")
    circles = [path for path in root.iter(f"{SVG}path") if "A" in path.get("d")]
    assert circles
    assert all(path.get("stroke") in (None, "none") for path in circles)
    assert page.locator("#heads-key").is_hidden()
    assert "cost" not in page.locator("#heads-caption").inner_text()


def test_the_tooltip_says_from_what_a_head_was_estimated(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=160")
    assert page.locator("#heads-caption").inner_text().endswith("step 160, at 24% of an exact sweep's cost")
    page.hover(HEADS, position=place_of(page, 0, 1))
    said = "estimate from 9 of 48 exact runs, covariates first order + last position, R² 0.50"
    assert said in page.locator("#tip").inner_text()
    page.hover(HEADS, position=place_of(page, 0, 4))
    assert SUSPECT[0, 4]
    assert "not to be trusted" in page.locator("#tip").inner_text()
    page.hover(HEADS, position=place_of(page, 0, 2))  # all 48 pairs were run
    settle(page)
    assert "estimate" not in page.locator("#tip").inner_text()


def test_the_table_says_what_is_estimated_and_what_suspect(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=160")
    with page.expect_download() as download:
        page.click("#heads .tools button >> text=CSV")
    header, *rows = (line.split(",") for line in download.value.path().read_text().splitlines())
    columns = {name: [row[header.index(name)] for row in rows] for name in ("estimated", "suspect")}
    assert columns["estimated"] == [str(int(few)) for few in (N_EXACT < 48).ravel()]
    assert columns["suspect"] == [str(int(doubted)) for doubted in SUSPECT.ravel()]


def test_a_trajectory_has_a_mark_a_pass_hollow_where_it_was_estimated(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=160&head=9.9,0.2")
    _, root = saved(page, "trajectory")
    circles = [path for path in root.iter(f"{SVG}path") if "A" in path.get("d")]
    paper = page.evaluate("palette.card")
    # L9H9 had 4 exact runs at each of the three estimates, L0H2 all 48. The shown pass, an estimate, has one mark more.
    for i, hollow in enumerate([4, 0]):
        colour = page.evaluate(f"palette.categories[{i}]")
        fills = [fill.get("fill") for fill, edge in pairwise(circles) if edge.get("stroke") == colour]
        assert len(fills) == 6
        assert fills.count(paper) == hollow


def test_the_bar_says_what_passes_took_and_of_which_limit(open_page, estimated_file):
    page = open_page(f"{estimated_file.as_uri()}#step=120")
    chip = page.locator("#budget")
    assert chip.inner_text() == "passes took 3% of training time (limit 5%)"
    assert "over" not in chip.get_attribute("class").split()
    page.keyboard.press("End")
    settle(page)
    assert chip.inner_text() == "passes took 5.1% of training time (limit 5%)"
    assert "over" in chip.get_attribute("class").split()


def test_a_run_that_counted_no_overhead_says_nothing_of_it(open_page, page_file):
    page = open_page(page_file.as_uri())
    assert page.locator("#budget").is_hidden()
