"""The page in a real browser: what a reader does, and what must not run."""

from importlib import import_module

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import Record, RecordWriter
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import HOSTILE, write_run

HEADS = "#heads canvas >> nth=0"


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def place_of(page, layer, head):
    """The middle of a head's cell on the map."""
    grid = page.evaluate("heads.grids[0]")
    return {"x": grid["left"] + (head + 0.5) * grid["cell"], "y": grid["top"] + (layer + 0.5) * grid["cell"]}


def picks(page):
    settle(page)
    return page.locator("#picks b").all_inner_texts()


def shown_step(page):
    settle(page)
    return page.evaluate("heads.view.step")


def test_click_picks_and_shift_click_compares(open_page, page_file):
    page = open_page(page_file.as_uri())
    page.click(HEADS, position=place_of(page, 5, 5))
    assert picks(page) == ["L5H5"]
    page.click(HEADS, position=place_of(page, 9, 2), modifiers=["Shift"])
    assert picks(page) == ["L5H5", "L9H2"]
    page.click(HEADS, position=place_of(page, 5, 5), modifiers=["Shift"])
    assert picks(page) == ["L9H2"]


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
    quantiles = page.evaluate(
        "heads.view.series.points.map((p, i) => heads.view.series.half(i, 0, false) / p.stderr[0])"
    )
    # Percentage points of Student's t at 97.5 % for 1, 2, 5, 10, 11, 30, 100 and many degrees of freedom.
    expected = [12.706, 4.303, 2.571, 2.228, 2.201, 2.042, 1.984, 1.960]
    assert quantiles == pytest.approx(expected, abs=5e-4)


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


def test_slider_keys_and_play_move_the_step(open_page, page_file):
    page = open_page(page_file.as_uri())
    assert shown_step(page) == 440
    page.locator("#slider").fill("3")
    assert shown_step(page) == 120
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    assert shown_step(page) == 160
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown_step(page) == 80
    page.keyboard.press("End")
    assert shown_step(page) == 440
    page.keyboard.press("Home")
    assert shown_step(page) == 0
    page.click("#play")
    wait_until(page, "heads.view.step === 440")
    wait_until(page, "document.getElementById('play').getAttribute('aria-label') === 'Play'")


def test_arrows_move_between_heads_when_the_map_has_focus(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#head=0.0")
    page.locator(HEADS).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert picks(page) == ["L1H1"]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+Enter")
    assert picks(page) == ["L1H1", "L1H2"]
    assert "L1H2" in page.locator("#announce").inner_text()
    page.keyboard.press("Escape")
    assert picks(page) == ["L1H1"]


def test_a_link_restores_the_view(open_page, page_file):
    page = open_page(page_file.as_uri())
    page.locator("#slider").fill("4")
    page.click(HEADS, position=place_of(page, 10, 7))
    page.click(HEADS, position=place_of(page, 5, 5), modifiers=["Shift"])
    page.select_option("#axis", "log")
    page.click("#theme")
    wait_until(page, "location.hash.includes('theme=dark') && location.hash.includes('step=160')")
    again = open_page(page.url)
    assert picks(again) == ["L10H7", "L5H5"]
    assert shown_step(again) == 160
    assert again.evaluate("[state.axis, theme]") == ["log", "dark"]


def test_a_senseless_link_is_ignored(open_page, page_file):
    page = open_page(
        f"{page_file.as_uri()}#step=abc&head=99.99,x&probe={HOSTILE}&view=x&axis=3&prompt=7:nothing"
    )
    assert shown_step(page) == 440
    assert picks(page) == ["L9H9"]


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
    page = open_page(f"{page_file.as_uri()}#step=440&prompt=3:maps")
    with page.expect_download() as download:
        page.click("#heads .tools button >> text=CSV")
    lines = download.value.path().read_text().splitlines()
    [entry] = [e for e in Record.read(run).effects if (e.label, e.step) == ("ablation/z/mean/loss", 440)]
    assert len(lines) == 145
    assert float(lines[-1].split(",")[5]) == pytest.approx(float(entry.mean[11, 11]), rel=1e-3)
    with page.expect_download() as download:
        page.click("#trajectory .tools button >> text=PNG")
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_text_that_a_spreadsheet_would_run_is_disarmed(open_page, page_file):
    page = open_page(page_file.as_uri())
    cells = page.evaluate("""['=1+1', '+1', '@x', 'a,b', 'a"b', -2.5, NaN].map(csvCell)""")
    assert cells == ["'=1+1", "'+1", "'@x", '"a,b"', '"a""b"', "-2.5", ""]


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


def test_hostile_text_stays_text(open_page, run, tmp_path):
    nasty = write_run(tmp_path / "x", name=HOSTILE, passes=2, frames=1, series=1, hostile=True)
    page = open_page(f"{report([nasty, run], tmp_path / 'x.html').as_uri()}#prompt=7:maps&head=0.0")
    settle(page)
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.title().startswith(HOSTILE)
    options = page.locator("#run option").all_inner_texts()
    assert HOSTILE in options
    assert HOSTILE in page.locator("#notes li").first.text_content()


def test_whole_words_as_tokens_stand_apart(open_page, page_file):
    page = open_page(page_file.as_uri())
    assert page.evaluate('showPrompt(["When", "Mary", ",", "gave"])') == "When Mary , gave"
    assert page.evaluate('showPrompt(["When", " Mary", ",", " ga", "ve"])') == "When Mary, gave"


def test_an_inserted_script_does_not_run(browser, page_file, tmp_path):
    """The policy stops a script even where the page's own care would have failed."""
    inserted = "<main><script>window.stolen = 1</script><img src=x onerror='window.stolen = 2'>"
    (tmp_path / "broken.html").write_text(page_file.read_text().replace("<main>", inserted, 1))
    page = browser.new_page()
    page.goto((tmp_path / "broken.html").as_uri())
    wait_until(page, "performance.getEntriesByName('headwatch:ready').length > 0")
    assert page.evaluate("window.stolen") is None
    page.close()


def test_an_empty_run_says_what_to_do(open_page, tmp_path):
    RecordWriter(tmp_path / "run", name="new", model={}).close()
    page = open_page(report([tmp_path / "run"], tmp_path / "new.html").as_uri())
    for card, words in [
        ("heads", "HeadAblation"),
        ("trajectory", "first pass"),
        ("thumbnails", "AttentionMaps"),
        ("attention", "AttentionMaps"),
        ("position", "by_position=True"),
        ("changes", "second pass"),
    ]:
        assert words in page.locator(f"#{card} .empty").inner_text()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800), (1920, 1080)])
def test_nothing_is_wider_than_the_window(open_page, page_file, width, height):
    page = open_page(page_file.as_uri(), width=width, height=height)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(open_page, page_file):
    page = open_page(page_file.as_uri())
    unnamed = page.evaluate("""[...document.querySelectorAll('button, select, input, [role=application]')]
        .filter((e) => !e.closest('[hidden], dialog') && !e.textContent.trim())
        .filter((e) => !e.getAttribute('aria-label') && !e.labels?.length)
        .map((e) => e.outerHTML)""")
    assert unnamed == []


def test_dark_mode_follows_the_system(open_page, page_file):
    page = open_page(page_file.as_uri(), color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def write_chosen(directory):
    """Neurons 200 and 201 of layers 1 and 2, and all heads of layers 9 and 11, of 12 layers."""
    with RecordWriter(directory, name="chosen", model={}) as writer:
        for label, dims, coords in [
            ("neurons", ("layer", "neuron"), {"layer": (1, 2), "neuron": (200, 201)}),
            ("heads", ("layer", "head"), {"layer": (9, 11), "head": (0, 1, 2)}),
            ("places", ("layer", "head", "position"), {"layer": (9, 11), "head": (4, 6), "position": (0, 1)}),
        ]:
            shape = [len(places) for places in coords.values()]
            for step in (1, 2):
                per_pair = step * torch.arange(2.0 * np.prod(shape)).reshape(2, *shape)
                effects = Effects(per_pair, torch.ones(2), None, dims, label, "zero", "loss", coords=coords)
                writer.effects(step, 0, "ablation", label, effects, 0.0)
    return report([directory], directory / "out.html")


def test_chosen_neurons_are_called_by_their_numbers(open_page, tmp_path):
    page = open_page(write_chosen(tmp_path / "run").as_uri())
    page.select_option("#series", label="Zero ablation of neurons → loss")
    assert picks(page) == ["L2N201"]
    page.click(HEADS, position=place_of(page, 0, 0))
    assert picks(page) == ["L1N200"]
    # At step 2 the cells' two pairs hold 0 and 8, 2 and 10, 4 and 12, 6 and 14.
    assert page.locator("#picks span").inner_text().startswith("4.00 ± ")
    page.hover(HEADS, position=place_of(page, 1, 0))
    assert page.locator("#tip").inner_text().startswith("L2N200\nΔ loss (nats): 8.00 ± ")
    assert page.locator("#changes tbody button").all_inner_texts() == ["L2N201", "L2N200", "L1N201", "L1N200"]
    wait_until(page, "location.hash.includes('head=1.200')")
    assert picks(open_page(page.url)) == ["L1N200"]
    for card, first, columns in [
        ("heads", ["1", "200"], ["layer", "neuron"]),
        ("changes", ["2", "201"], ["layer", "neuron"]),
        ("trajectory", ["1", "200"], ["layer", "neuron"]),
    ]:
        with page.expect_download() as download:
            page.click(f"#{card} .tools button >> text=CSV")
        header, line = (text.split(",") for text in download.value.path().read_text().splitlines()[:2])
        at = header.index("layer")
        assert (header[at : at + 2], line[at : at + 2]) == (columns, first), card


def test_a_label_that_goes_on_with_other_layers_is_two_series(open_page, tmp_path):
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        for step, layers in enumerate([(1, 2), (3, 4), (1, 2)]):
            per_pair = torch.full((2, 2, 1), float(step))
            coords = {"layer": layers, "head": (0,)}
            effects = Effects(
                per_pair, torch.ones(2), None, ("layer", "head"), "z", "mean", "loss", coords=coords
            )
            writer.effects(step, 0, "ablation", "a", effects, 0.0)
    page = open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri())
    found = page.evaluate("heads.view.run.headSeries().map((series) => [series.rows, series.steps])")
    assert found == [[[1, 2], [0, 2]], [[3, 4], [1]]]


def test_chosen_layers_are_called_by_their_numbers(open_page, tmp_path):
    page = open_page(write_chosen(tmp_path / "run").as_uri())
    page.select_option("#series", label="Zero ablation of heads → loss")
    assert picks(page) == ["L11H2"]
    page.click(HEADS, position=place_of(page, 0, 1))
    assert picks(page) == ["L9H1"]
    assert page.evaluate("[heads.grids[0].rows, heads.grids[0].columns]") == [2, 3]
    page.locator(HEADS).focus()
    page.keyboard.press("ArrowDown")
    assert picks(page) == ["L11H1"]
    assert page.locator("#announce").inner_text().startswith("L11H1, ")


def test_chosen_places_are_called_by_their_numbers_by_position_too(open_page, tmp_path):
    page = open_page(f"{write_chosen(tmp_path / 'run').as_uri()}#head=11.1")
    page.select_option("#series", label="Zero ablation of heads → loss")
    settle(page)
    assert page.evaluate("[position.shown.across.name, position.shown.across.labels]") == [
        "Head of layer 11",
        [4, 6],
    ]
    assert page.evaluate("position.shown.across.head(0, 1)") == [11, 6]
    options = page.locator("#position-view option").all_inner_texts()
    assert options[2:] == ["heads of layer 9", "heads of layer 11"]


def test_steps_are_whole_on_the_axis(open_page, tmp_path):
    page = open_page(write_chosen(tmp_path / "run").as_uri())
    assert page.evaluate("trajectory.axes.x.ticks") == [1, 2]


def test_what_is_no_head_has_no_attention(open_page, tmp_path):
    with RecordWriter(tmp_path / "run", name="layers", model={}) as writer:
        for label, dims in [("a", ("layer",)), ("b", ("layer", "neuron")), ("c", ("layer", "head"))]:
            effects = Effects(
                torch.ones((2, 2, 3)[: len(dims) + 1]), torch.ones(2), None, dims, label, "zero", "loss"
            )
            writer.effects(1, 0, "ablation", label, effects, 0.0)
        writer.patterns(1, 0, "maps", torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y"]])
    page = open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri())
    wait_until(page, "attention.tiles.length > 0")
    for label, what in [("a", "whole layer"), ("b", "neuron")]:
        page.select_option("#series", label=f"Zero ablation of {label} → loss")
        settle(page)
        assert f"a {what} is picked" in page.locator("#attention .empty").inner_text()
        page.hover("#thumbnails canvas", position={"x": 40, "y": 40})
        assert page.locator("#tip").inner_text() == "L0H0"
    page.select_option("#series", label="Zero ablation of c → loss")
    settle(page)
    assert not page.locator("#attention .empty").is_visible()
    page.hover("#thumbnails canvas", position={"x": 42, "y": 42})
    assert page.locator("#tip").inner_text().startswith("L0H0\nΔ loss (nats): 1.00")


def test_the_page_keeps_its_names_to_itself(browser, run, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("headwatch.page.assemble"), "ENTRY", "main.js")
    file = report([run], tmp_path / "out.html")
    (tmp_path / "blank.html").write_text("<!doctype html>")
    page = browser.new_page()
    page.goto((tmp_path / "blank.html").as_uri())
    before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
    page.goto(file.as_uri())
    wait_until(page, "performance.getEntriesByName('headwatch:ready').length > 0")
    ids = set(page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)"))
    assert set(page.evaluate("Object.getOwnPropertyNames(window)")) - before - ids == set()
    kinds = page.evaluate("[typeof heads.view, typeof state, typeof refresh, typeof modules]")
    assert kinds == ["undefined"] * 4
    page.close()


def test_whole_layers_and_neurons_have_maps_of_their_own(open_page, tmp_path):
    with RecordWriter(tmp_path / "run", name="layers", model={}) as writer:
        for label, dims, shape in [("a", ("layer",), (3,)), ("b", ("layer", "neuron"), (3, 5))]:
            effects = Effects(
                torch.arange(2.0 * np.prod(shape)).reshape(2, *shape),
                torch.ones(2),
                None,
                dims,
                label,
                "zero",
                "loss",
            )
            writer.effects(1, 0, "ablation", label, effects, 0.0)
    page = open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri())
    page.select_option("#series", label="Zero ablation of a → loss")
    assert picks(page) == ["L2"]
    page.select_option("#series", label="Zero ablation of b → loss")
    assert picks(page) == ["L2N4"]
