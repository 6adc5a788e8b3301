"""The page in a real browser: what it shows and hands out is what the record holds."""

import math

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import Record, RecordWriter
from tests.headwatch.page.browser import settle
from tests.headwatch.page.fake_run import write_run


def test_values_are_those_of_the_record(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=200&head=9.9")
    label = "ablation/z/mean/loss"
    [entry] = [entry for entry in Record.read(run).effects if (entry.label, entry.step) == (label, 200)]
    shown = page.evaluate("[...heads.view.series.points[heads.view.index].mean]")
    np.testing.assert_allclose(np.reshape(shown, (12, 12)), entry.mean, rtol=1e-3, atol=1e-6)
    # Student's t for 47 degrees of freedom is 2.0117.
    half = page.evaluate("heads.view.series.half(heads.view.index, 9 * 12 + 9, false)")
    assert half == pytest.approx(2.0117 * entry.stderr[9, 9], rel=2e-3)
    value = page.locator("#picks span").inner_text()
    assert value.startswith(f"{entry.mean[9, 9]:.3g}"[:4].replace("-", "−"))


def test_the_intervals_use_students_t(open_page, tmp_path):
    counts = [2, 3, 6, 11, 12, 31, 101, 100_001]
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        for step, count in enumerate(counts):
            per_pair = torch.arange(float(count))[:, None, None]
            effects = Effects(per_pair, torch.ones(count), None, ("layer", "head"), "z", "mean", "loss")
            writer.effects(step, 0, "ablation", "a", effects, 0.0)
    page = open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri())
    halves = page.evaluate("heads.view.series.points.map((_, i) => heads.view.series.half(i, 0, false))")
    # The variance of 0 to n − 1 is n (n + 1) / 12.
    quantiles = [half / math.sqrt((n + 1) / 12) for half, n in zip(halves, counts, strict=True)]
    # Percentage points of Student's t at 97.5 % for 1, 2, 5, 10, 11, 30, 100 and many degrees of freedom.
    expected = [12.706, 4.303, 2.571, 2.228, 2.201, 2.042, 1.984, 1.960]
    assert quantiles == pytest.approx(expected, rel=1e-3)


def test_heads_whose_interval_excludes_zero_are_marked(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440")
    [entry] = [e for e in Record.read(run).effects if (e.label, e.step) == ("ablation/z/mean/loss", 440)]
    expected = int((np.abs(entry.mean) > 2.0117 * entry.stderr).sum())
    assert f"excludes 0: {expected} of 144" in page.locator("#heads-hint").inner_text()


def test_a_dot_is_a_head_that_stands_out_among_all(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440")
    [entry] = [e for e in Record.read(run).effects if (e.label, e.step) == ("ablation/z/mean/loss", 440)]
    # The k smallest p-values are significant for the largest k at which the k-th is at most 0.05 k / 144.
    t = torch.from_numpy(np.abs(entry.mean / entry.stderr)).double()
    x = 47 / (47 + t**2)
    p = torch.tensor([integral_of_beta(float(value)) for value in x.ravel()])
    order = p.argsort()
    enough = (p[order] <= 0.05 * torch.arange(1, 145) / 144).nonzero()
    expected = sorted(order[: int(enough.max()) + 1].tolist())
    found = page.evaluate(
        "[...Array(144).keys()].filter((cell) => heads.view.series.marked(heads.view.index, cell))"
    )
    assert found == expected
    assert 3 < len(found) < int((np.abs(entry.mean) > 2.0117 * entry.stderr).sum())
    hint = page.locator("#heads-hint").inner_text()
    assert f"{len(found)} of 144 stand out at a false discovery rate of 5%" in hint
    assert "about 7 would by chance" in hint


def integral_of_beta(x, a=23.5, b=0.5, parts=20_000):
    """The regularised incomplete beta function by a sum: P(|T| > t) for 47 degrees of freedom at x = 47 / (47 + t²)."""

    def area(low, high):
        # With s = 1 − u² the end at 1 is smooth: ∫ s^(a−1) (1−s)^(b−1) ds = ∫ 2 (1−u²)^(a−1) du for b = 1/2.
        u = np.linspace(np.sqrt(1 - high), np.sqrt(1 - low), parts)
        return float(np.trapezoid(2 * (1 - u**2) ** (a - 1), u))

    return area(0, x) / area(0, 1)


def test_attention_is_read_under_the_pointer(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9")
    page.wait_for_selector("#attention .tile")
    box = page.evaluate("attention.tiles[0].shape")
    position = {"x": box["label"] + 2.5 * box["cell"], "y": box["top"] + 4.5 * box["cell"]}
    page.hover("#attention .tile canvas >> nth=0", position=position)
    settle(page)
    frame = Record.read(run).patterns(400)
    weight = frame.maps[0][9, 9, 4, 2]
    reading = page.locator("#attention-reading").inner_text()
    assert "(4) → key ·Tom (2)" in reading
    assert f"L9H9 {weight:.2f}" in reading


def test_positions_mark_the_token_that_differs(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440")
    assert page.evaluate("differing(position.shown.pair.clean, position.shown.pair.corrupted)") == [10]
    entry = [e for e in Record.read(run).effects if e.label == "patching/resid_pre/position"][-1]
    shown = page.evaluate(
        "position.shown.series.value(position.shown.index, position.shown.across.cell(10, 3), false)"
    )
    assert shown == pytest.approx(float(entry.mean[3, 10]), rel=1e-3)


def test_positions_by_head_show_the_picked_layer(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440&head=9.9")
    key = page.evaluate("heads.view.run.positionSeries().find((s) => s.dims.length === 3).key")
    page.select_option("#position-series", key)
    settle(page)
    entry = [e for e in Record.read(run).effects if e.label == "patching/z/position"][-1]
    value = "position.shown.series.value(position.shown.index, position.shown.across.cell(14, 9), false)"
    assert page.evaluate(value) == pytest.approx(float(entry.mean[9, 9, 14]), rel=1e-3)
    page.select_option("#position-view", "layers")
    settle(page)
    strongest = int(np.abs(entry.mean[5, :, 14]).argmax())
    assert page.evaluate("position.shown.across.head(14, 5)") == [5, strongest]


def test_scores_colour_the_map(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440")
    page.select_option("#colour", label="Induction")
    settle(page)
    entry = Record.read(run).scores[-1].scores["induction"]
    assert "Induction, step 440" in page.locator("#heads-caption").inner_text()
    value = page.evaluate("heads.view.tint.value(heads.view.tintIndex, 9 * 12 + 9, false)")
    assert value == pytest.approx(float(entry[9, 9]), rel=1e-3)


def test_normalised_effects(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440&colour=normalized")
    page.select_option("#series", label="Patching z, denoise → logit difference")
    settle(page)
    [entry] = [
        e for e in Record.read(run).effects if (e.label, e.step) == ("patching/z/denoise/logit_diff", 440)
    ]
    value = page.evaluate("heads.view.series.value(heads.view.index, 5 * 12 + 5, heads.view.normalized)")
    assert value == pytest.approx(float(entry.normalized[5, 5]), rel=2e-3)


def test_what_changed_most_since_a_step(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440&since=160")
    by_step = {e.step: e.mean for e in Record.read(run).effects if e.label == "ablation/z/mean/loss"}
    change = by_step[440] - by_step[160]
    order = np.argsort(-np.abs(change).ravel())[:3]
    expected = [f"L{cell // 12}H{cell % 12}" for cell in order]
    assert page.locator("#changes tbody button").all_inner_texts()[:3] == expected


def test_csv_and_png_hold_what_is_shown(open_page, page_file, run):
    page = open_page(f"{page_file.as_uri()}#step=440&prompt=maps:3")
    with page.expect_download() as download:
        page.click("#heads .tools button >> text=CSV")
    lines = download.value.path().read_text().splitlines()
    [entry] = [e for e in Record.read(run).effects if (e.label, e.step) == ("ablation/z/mean/loss", 440)]
    assert len(lines) == 145
    assert float(lines[-1].split(",")[5]) == pytest.approx(float(entry.mean[11, 11]), rel=1e-3)
    with page.expect_download() as download:
        page.click("#trajectory .tools button >> text=PNG")
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_two_runs_are_compared_at_one_step(open_page, run, tmp_path):
    other = write_run(tmp_path / "b", name="b", passes=9, frames=0, series=1, by_position=False, seed=70)
    file = report([run, other], tmp_path / "two.html")
    page = open_page(f"{file.as_uri()}#step=200&vs=b&compare=difference")
    means = []
    for record in (Record.read(run), Record.read(other)):
        [mean] = [e.mean for e in record.effects if (e.label, e.step) == ("ablation/z/mean/loss", 200)]
        means.append(mean)
    value = page.evaluate("headMaps(heads.view)[0].value(9 * 12 + 9)")
    assert value == pytest.approx(float(means[0][9, 9] - means[1][9, 9]), abs=2e-3)
    page.click("#compare-view >> text=Side by side")
    settle(page)
    assert page.evaluate("heads.grids.length") == 2
