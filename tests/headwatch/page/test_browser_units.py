"""The page in a real browser: layers, neurons and heads are called by their own numbers, whatever is shown of them."""

import numpy as np
import torch

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import HEADS, picks, place_of, settle
from tests.headwatch.page.conftest import wait_until


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


def test_steps_are_whole_on_the_axis(open_page, tmp_path):
    page = open_page(write_chosen(tmp_path / "run").as_uri())
    assert page.evaluate("trajectory.axes.x.ticks") == [1, 2]


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
