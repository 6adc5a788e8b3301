"""The page in a real browser: a pass before the first step is shown beside the one after it, on either axis."""

import pytest
import torch

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import settle, shown_step


@pytest.fixture
def page(open_page, tmp_path):
    with RecordWriter(tmp_path / "run", name="run", model={}) as writer:
        for step in (-1, 0, 1, 100):
            effects = Effects(
                torch.full((2, 2, 2), step + 2.0), torch.ones(2), None, ("layer", "head"), "z", "zero", "loss"
            )
            writer.effects(step, 0, "ablation", "series", effects, 0.0)
    return open_page(report([tmp_path / "run"], tmp_path / "out.html").as_uri() + "#step=-1")


def test_a_link_leads_to_it_and_it_is_called_what_it_is(page):
    assert shown_step(page) == -1
    assert "−1 (before training)" in page.locator("#step").inner_text()
    assert page.evaluate("heads.view.series.value(heads.view.index, 0, false)") == pytest.approx(1, rel=1e-3)
    page.evaluate("document.body.focus()")
    page.keyboard.press("ArrowRight")
    assert shown_step(page) == 0
    assert page.evaluate("heads.view.series.value(heads.view.index, 0, false)") == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("axis", ["linear", "log"])
def test_it_stands_left_of_the_first_step_on_either_axis(page, axis):
    page.select_option("#axis", axis)
    settle(page)
    places = page.evaluate("[-1, 0, 1, 100].map((step) => trajectory.axes.x.at(step))")
    assert all(isinstance(place, int | float) for place in places)
    assert places == sorted(set(places))
    ticks = page.evaluate("trajectory.axes.x.ticks")
    assert ticks[0] == 0
