"""Gradient importance beside the exact effect: the same heads, and how alike the two order them."""

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import picks, settle
from tests.headwatch.page.test_pictures import SVG, saved

STEPS = (0, 10, 20)
TIED = torch.tensor([[0.0, 0.0, 1.0], [2.0, 2.0, 3.0]])


def numbers(step):
    """Effects and importances of 2 × 3 heads: unlike at first, alike at last."""
    generator = np.random.default_rng(step)
    effect = generator.normal(size=(2, 3))
    noise = generator.normal(size=(2, 3)) * (20 - step) / 10
    return torch.tensor(effect).float(), TIED if step == 10 else torch.tensor(
        np.abs(effect) + noise
    ).float().abs()


def write(folder, exact=True):
    with RecordWriter(folder / "run", name="x", model={}) as writer:
        for step in STEPS:
            effect, importance = numbers(step)
            effects = Effects(
                effect.expand(3, 2, 3),
                torch.ones(3),
                None,
                ("layer", "head"),
                "z",
                "mean",
                "loss",
                exact=exact,
            )
            writer.effects(step, 0, "ablation" if exact else "attribution", "a", effects, 0.0)
            if step:
                writer.scores(step, 0, "gradients", {"importance": importance}, 0.0)
    return report([folder / "run"], folder / "out.html")


def spearman(first, second):
    """By the definition: Pearson's correlation of the ranks, equal values sharing their mean."""

    def ranks(values):
        values = np.ravel(values)
        return [(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values]

    return np.corrcoef(ranks(first), ranks(second))[0, 1]


def test_the_rank_correlation_at_every_step(open_page, tmp_path):
    page = open_page(f"{write(tmp_path).as_uri()}#step=20")
    with page.expect_download() as download:
        page.click("#gradients .tools button >> text=CSV")
    rows = [line.split(",") for line in download.value.path().read_text().splitlines()[1:]]
    assert [int(row[2]) for row in rows] == [0, 10, 20]
    assert rows[0][3] == ""  # nothing was heard before the first step
    for row in rows[1:]:
        effect, importance = numbers(int(row[2]))
        # Effects come in half precision, and no two of them are that close.
        assert float(row[3]) == pytest.approx(spearman(effect.abs(), importance), abs=1e-4)
    assert (
        page.locator("#gradients-caption").inner_text().endswith(f"rank correlation {float(rows[2][3]):#.3g}")
    )


def test_a_head_of_the_scatter_is_picked(open_page, tmp_path):
    page = open_page(f"{write(tmp_path).as_uri()}#step=20")
    dots = page.evaluate("gradients.dots")
    effect, importance = numbers(20)
    assert len(dots) == 6
    for dot in dots:
        layer, head = dot["place"]
        assert dot["effect"] == pytest.approx(abs(float(effect[layer, head])), rel=1e-3)
        assert dot["importance"] == pytest.approx(float(importance[layer, head]), rel=1e-3)
    dot = next(dot for dot in dots if dot["place"] == [1, 2])
    page.click("#gradients canvas", position={"x": dot["x"], "y": dot["y"]})
    assert picks(page) == ["L1H2"]
    _, root = saved(page, "gradients")
    colour = page.evaluate("palette.categories[0]")
    assert [text.text for text in root.iter(f"{SVG}text") if text.get("fill") == colour] == ["L1H2"]


def test_it_says_that_importance_has_no_sign(open_page, tmp_path):
    page = open_page(write(tmp_path).as_uri())
    assert "without sign" in page.locator("#gradients .hint").inner_text()


def test_there_is_no_such_card_without_both(open_page, page_file, tmp_path):
    page = open_page(page_file.as_uri())
    assert page.locator("#gradients").is_hidden()
    page = open_page(write(tmp_path, exact=False).as_uri())
    settle(page)
    assert page.locator("#gradients").is_hidden()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_it_is_not_wider_than_the_window(open_page, tmp_path, width, height):
    page = open_page(write(tmp_path).as_uri(), width=width, height=height)
    settle(page)
    assert page.locator("#gradients").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
