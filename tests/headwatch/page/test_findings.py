"""What changed beyond noise, since when, and where the page says so."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.effects.estimated import EstimatedEffects
from headwatch.page import report
from headwatch.page.findings import findings_payload, which_to_compare
from headwatch.page.runs import Runs
from headwatch.record import Record, RecordWriter
from tests.headwatch.page.browser import HEADS, picks, place_of, settle, shown_step
from tests.headwatch.page.test_browser_numbers import integral_of_beta
from tests.headwatch.page.test_pictures import SVG, saved
from tests.models import random_pairs

STEPS = tuple(range(0, 600, 100))
N, SHAPE = 48, (3, 4)


def planted(seed=0):
    """Effects `[step, pair, layer, head]`: pairs keep their level; L1H2 jumps after step 200, L2H0 fades after 300."""
    random = np.random.default_rng(seed)
    level = random.normal(size=(N, *SHAPE))
    values = level + 0.05 * random.normal(size=(len(STEPS), N, *SHAPE))
    values[:3, :, 2, 0] += 1.0
    values[3:, :, 1, 2] += 0.7
    values[4:, :, 2, 0] -= 0.9
    values[3, :, 2, 0] += 1.0
    return values.astype(np.float32)


def write(directory, values, pairs=None):
    with RecordWriter(directory, name="planted", model={}) as writer:
        for step, per_pair in zip(STEPS, values, strict=True):
            effects = Effects(
                torch.from_numpy(per_pair), torch.ones(N), None, ("layer", "head"), "z", "mean", "loss"
            )
            writer.effects(step, 0, "ablation", "a", effects, 0.0, pairs=pairs or random_pairs(N))
    return directory


@pytest.fixture(scope="module")
def values():
    return planted()


@pytest.fixture(scope="module")
def planted_file(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return report([write(folder / "run", values)], folder / "out.html")


def halves(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), "<f2") * packed["scale"]


def found_in(file):
    [finding] = findings_payload(Record.read(file.parent / "run"))
    return finding


def paired(values, before, after):
    """The change and its standard error, pair by pair."""
    change = (values[after] - values[before]).astype(np.float64).reshape(N, -1)
    return change.mean(0), change.std(0, ddof=1) / np.sqrt(N)


def test_every_two_passes_are_compared_pair_by_pair(planted_file, values):
    changes = found_in(planted_file)["changes"]
    assert len(changes) == 15
    for change in changes:
        before, after = STEPS.index(change["before"]), STEPS.index(change["after"])
        mean, stderr = paired(values, before, after)
        np.testing.assert_allclose(halves(change["mean"]), mean, atol=3e-3)
        # Student's t for 47 degrees of freedom is 2.0117. Kept values are off by up to 0.05 % of a head's largest.
        np.testing.assert_allclose(halves(change["half"]), 2.0117 * stderr, rtol=0.02)


def test_what_is_marked_is_more_than_noise_among_all_heads(planted_file, values):
    for change in found_in(planted_file)["changes"]:
        mean, stderr = paired(values, STEPS.index(change["before"]), STEPS.index(change["after"]))
        p = np.array([integral_of_beta(47 / (47 + t**2), parts=4000) for t in mean / stderr])
        order = p.argsort()
        enough = np.flatnonzero(p[order] <= 0.05 * np.arange(1, 13) / 12)
        expected = sorted(order[: enough.max() + 1].tolist()) if enough.size else []
        marks = np.unpackbits(np.frombuffer(base64.b64decode(change["marks"]), np.uint8))[:12]
        assert np.flatnonzero(marks).tolist() == expected, (change["before"], change["after"])


def test_the_shift_holds_the_planted_step(planted_file):
    shifts = {shift["cell"]: shift for shift in found_in(planted_file)["shifts"]}
    assert shifts[6]["low"] <= 200
    assert shifts[6]["high"] >= 300
    assert shifts[6]["step"] == 250
    assert shifts[6]["after"] - shifts[6]["before"] == pytest.approx(0.7, abs=0.05)
    assert shifts[8]["step"] == 350


@pytest.mark.parametrize(("passes", "expected"), [(1, []), (3, [(0, 1), (0, 2), (1, 2)])])
def test_of_few_passes_all_are_compared(passes, expected):
    assert which_to_compare(passes) == expected


def test_of_many_passes_with_the_first_the_one_before_and_the_last():
    found = set(which_to_compare(40))
    assert {(0, i) for i in range(1, 40)} | {(i, i + 1) for i in range(39)} <= found
    assert {(i, 39) for i in range(39)} <= found
    assert (1, 3) not in found


def test_passes_on_other_pairs_are_not_compared(tmp_path, values):
    write(tmp_path / "run", values[:, :])
    with RecordWriter(tmp_path / "run", name="planted", model={}) as writer:
        effects = Effects(
            torch.from_numpy(values[-1]), torch.ones(N), None, ("layer", "head"), "z", "mean", "loss"
        )
        writer.effects(900, 0, "ablation", "a", effects, 0.0, pairs=random_pairs(N, seed=9))
    [finding] = findings_payload(Record.read(tmp_path / "run"))
    assert 900 not in {change["after"] for change in finding["changes"]}
    assert len(finding["changes"]) == 15


def test_a_run_without_values_of_every_pair_has_no_findings(run, open_page, page_file):
    assert findings_payload(Record.read(run)) == []
    page = open_page(page_file.as_uri())
    assert page.locator("#changes-key").inner_text() == ""
    assert page.locator("#events").is_hidden()
    assert "•" not in page.locator("#changes tbody").inner_text()


def test_the_table_marks_what_is_more_than_noise(open_page, planted_file, values):
    page = open_page(f"{planted_file.as_uri()}#step=300&since=200")
    change = next(c for c in found_in(planted_file)["changes"] if (c["before"], c["after"]) == (200, 300))
    marks = np.unpackbits(np.frombuffer(base64.b64decode(change["marks"]), np.uint8))[:12]
    rows = page.locator("#changes tbody tr").all()
    shown = {row.locator("button").inner_text(): "•" in row.inner_text() for row in rows}
    assert shown == {f"L{cell // 4}H{cell % 4}": bool(marks[cell]) for cell in range(12)}
    assert 1 <= marks.sum() < 12
    key = page.locator("#changes-key").inner_text()
    assert f"{marks.sum()} of 12 at a false discovery rate of 5%" in key
    # Twelve p-values of nothing: 0.05 Σ k q^(k−1) …, 0.0553 with the procedure's own chance.
    assert re.search(r"0\.05\d+ by chance if nothing had changed", key)
    assert rows[0].locator("button").inner_text() == "L1H2"
    mean, _ = paired(values, 2, 3)
    assert float(rows[0].locator("td").last.inner_text().split("+")[1]) == pytest.approx(mean[6], rel=5e-3)
    assert "the same pairs compared one by one" in rows[0].get_attribute("title")


def test_marks_come_with_the_csv_and_the_picture(open_page, planted_file):
    page = open_page(f"{planted_file.as_uri()}#step=300&since=200")
    with page.expect_download() as download:
        page.click("#changes .tools button >> text=CSV")
    header, first = (line.split(",") for line in download.value.path().read_text().splitlines()[:2])
    assert first[header.index("more_than_noise")] == "1"
    _, root = saved(page, "changes")
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert any("at a false discovery rate of 5%" in text for text in texts)


def test_the_trajectory_shows_since_when(open_page, planted_file):
    page = open_page(f"{planted_file.as_uri()}#step=500&head=1.2,0.0")
    chips = page.locator("#picks span").all_inner_texts()
    assert chips[0].endswith(" · since step 250 ± 50")
    _, root = saved(page, "trajectory")
    colour = page.evaluate("palette.categories[0]")
    bands = [r for r in root.iter(f"{SVG}rect") if r.get("fill") == colour and r.get("opacity") == "0.09"]
    assert len(bands) == 1
    left, right = page.evaluate("[trajectory.axes.x.at(200), trajectory.axes.x.at(300)]")
    assert float(bands[0].get("x")) == pytest.approx(left, abs=0.01)
    assert float(bands[0].get("width")) == pytest.approx(right - left, abs=0.01)


def test_an_event_leads_to_its_change(open_page, planted_file):
    page = open_page(planted_file.as_uri())
    summary = page.locator("#events summary").inner_text()
    count = len(found_in(planted_file)["events"])
    assert summary.startswith(f"{count} changes from pass to pass beyond noise, in 5 comparisons; 0.2")
    page.click("#events summary")
    page.get_by_role("button", name="Show L1H2 from step 200 to step 300").click()
    assert picks(page) == ["L1H2"]
    assert shown_step(page) == 300
    assert page.locator("#since").input_value() == "200"


def test_normalised_changes_are_not_marked(open_page, tmp_path, values):
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        for step, per_pair in zip(STEPS, values, strict=True):
            effects = Effects(
                torch.from_numpy(per_pair),
                torch.ones(N),
                -torch.ones(N),
                ("layer", "head"),
                "z",
                "denoise",
                "loss",
            )
            writer.effects(step, 0, "patching", "p", effects, 0.0, pairs=random_pairs(N))
    file = report([tmp_path / "run"], tmp_path / "out.html")
    page = open_page(f"{file.as_uri()}#step=500&colour=normalized")
    assert "•" not in page.locator("#changes tbody").inner_text()
    page.select_option("#colour", "effect")
    settle(page)
    assert "•" in page.locator("#changes tbody").inner_text()


def test_a_live_page_is_told_of_them(planted_file):
    runs = Runs(planted_file.parent / "run")
    [run] = runs.listed()["runs"]
    runs.update(run["id"], 0)
    assert json.loads(json.dumps(runs.findings(run["id"]))) == json.loads(
        json.dumps([found_in(planted_file)])
    )


def estimate(truth, covariate, ran):
    """What `estimate_heads` answers with, of which some pairs were run exactly."""
    exact = np.where(np.isin(np.arange(len(truth)), ran)[:, None, None], truth, np.nan)
    return EstimatedEffects(
        torch.from_numpy(exact).float(),
        torch.from_numpy(covariate).float(),
        torch.ones(truth.shape),
        torch.zeros(len(truth), dtype=torch.long),
        torch.arange(len(truth)),
        torch.ones(len(truth)),
        None,
        ("layer", "head"),
        "z",
        "mean",
        "loss",
        0.25,
        0.25,
        ("first order", "last position"),
    )


def test_estimates_are_compared_by_what_both_passes_know(open_page, tmp_path):
    random = np.random.default_rng(1)
    covariates = random.normal(size=(2, 16, 2, 3))
    truths = covariates + 0.2 * random.normal(size=covariates.shape) + np.arange(6).reshape(2, 3) / 10
    rans = [np.arange(0, 10), np.arange(4, 14)]
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        for step, (truth, covariate, ran) in enumerate(zip(truths, covariates, rans, strict=True)):
            found = estimate(truth, covariate, ran)
            writer.effects(step, 0, "ablation", "a", found, 0.0, pairs=random_pairs(16))
    page = open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri())
    with page.expect_download() as download:
        page.click("#changes .tools button >> text=CSV")
    header, *rows = (line.split(",") for line in download.value.path().read_text().splitlines())
    # The covariates' difference over all pairs, and the residuals' over the pairs that both passes ran.
    residual = (truths - covariates)[1] - (truths - covariates)[0]
    expected = (covariates[1] - covariates[0]).mean(0) + residual[4:10].mean(0)
    for row in rows:
        layer, head, change = int(row[0]), int(row[1]), float(row[header.index("change")])
        assert change == pytest.approx(expected[layer, head], abs=4e-3)
    then, now, change = (
        np.array([float(row[header.index(name)]) for row in rows]) for name in ("then", "now", "change")
    )
    assert np.abs(change - (now - then)).max() > 0.01
    page.hover(HEADS, position=place_of(page, 0, 0))
    said = "estimate from 10 of 16 exact runs, covariates first order + last position, R² 0."
    assert said in page.locator("#tip").inner_text()
    assert "at 25% of an exact sweep's cost" in page.locator("#heads-caption").inner_text()


def test_a_damaged_file_costs_its_pass_and_the_page_says_so(tmp_path, values):
    run = write(tmp_path / "run", values)
    file = run / "per_pair" / "200.npz"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 3 + 40] = bytes(40)
    file.write_bytes(damaged)
    [finding] = findings_payload(Record.read(run))
    [problem] = finding["problems"]
    assert "200.npz cannot be read" in problem
    steps = {(change["before"], change["after"]) for change in finding["changes"]}
    assert (0, 100) in steps
    assert not any(200 in pair for pair in steps)
    page = report([run], tmp_path / "out.html").read_text()
    assert "200.npz cannot be read" in page
