"""Pictures drawn by matplotlib: which colours, names and marks they show. Drawn without a screen."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch import plot
from headwatch.effects import Effects
from tests.models import tiny_gpt2

matplotlib = pytest.importorskip("matplotlib", reason="needs the extra headwatch[plot]")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def effects(mean: torch.Tensor, dims: tuple[str, ...] = ("layer", "head"), **others: object) -> Effects:
    spread = 0.1 * 3**0.5 * torch.tensor([-1.0, 0.0, 1.0])  # a standard error of 0.1
    per_pair = mean + spread.reshape(-1, *[1] * mean.ndim)
    return Effects(per_pair, torch.zeros(3), None, dims, "z", "mean", "loss", **others)


MEAN = torch.tensor([[0.0, 1.5, -0.05], [-3.0, torch.nan, 0.1]])
CHOSEN = {"layer": (9, 10), "head": (0, 6, 7)}


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def drawn(axes):
    """Values and colours of the map, and where its marks are, after everything was rendered."""
    axes.figure.canvas.draw()
    [image] = axes.images
    marks = [tuple(place) for dots in axes.collections for place in np.asarray(dots.get_offsets()).tolist()]
    return SimpleNamespace(values=image.get_array(), limits=image.get_clim(), image=image, marks=marks)


def test_heads_are_coloured_around_0_within_limits_that_are_symmetric():
    shown = drawn(plot.heads(effects(MEAN)))
    np.testing.assert_allclose(np.ma.filled(shown.values, np.nan), MEAN, rtol=1e-5, atol=1e-6)
    assert shown.limits == (pytest.approx(-3.0), pytest.approx(3.0))
    colour = shown.image.cmap(shown.image.norm(np.array([-3.0, 0.0, 3.0])))[:, :3]
    blue, white, red = colour
    assert blue[2] > 2 * blue[0]
    assert red[0] > 2 * red[2]
    assert white.min() > 0.95


def test_heads_are_named_by_layer_and_head_and_not_by_their_place():
    axes = plot.heads(effects(MEAN, coords=CHOSEN))
    assert labels(axes.yaxis) == ["9", "10"]
    assert labels(axes.xaxis) == ["0", "6", "7"]
    assert axes.get_ylabel() == "layer"
    assert axes.get_xlabel().startswith("head")


def test_the_marked_heads_are_the_significant_ones_and_the_caption_says_by_what():
    found = effects(MEAN)
    axes = plot.heads(found)
    expected = [(column, row) for row, column in found.significant().nonzero().tolist()]
    assert drawn(axes).marks == expected == [(1, 0), (0, 1)]
    caption = axes.get_xlabel().replace("\n", " ")
    assert "● significant: false discovery rate 5 % over 5 cells (Benjamini-Hochberg)" in caption


def test_chance_marks_nothing():
    noise = torch.randn(16, 12, 12, generator=torch.Generator().manual_seed(2))
    found = Effects(noise, torch.zeros(16), None, ("layer", "head"), "z", "mean", "loss")
    axes = found.plot()
    assert drawn(axes).marks == []
    assert axes.get_xlabel() == "head"  # no legend of marks that are not there


def test_an_effect_by_position_shows_each_head_at_its_strongest():
    mean = torch.zeros(2, 2, 3)
    mean[0, 1, 2], mean[0, 1, 0] = -4.0, 3.0
    axes = plot.heads(effects(mean, ("layer", "head", "position")))
    assert drawn(axes).values[0, 1] == pytest.approx(-4.0)
    assert "each head at its strongest position" in axes.get_xlabel()


@pytest.mark.parametrize(
    ("shape", "dims", "coords", "rows"),
    [
        ((3,), ("layer",), {"layer": (2, 5, 7)}, ["2", "5", "7"]),
        ((2,), ("set",), {"set": (((9, 6), (10, 0)), ((1, 1),))}, ["L9H6+L10H0", "L1H1"]),
        ((2, 3), ("layer", "neuron"), {"layer": (0, 4), "neuron": (7, 200, 201)}, ["0", "4"]),
        ((2, 300), ("layer", "position"), {}, ["0", "1"]),
    ],
)
def test_other_results_are_drawn_too(shape, dims, coords, rows):
    axes = effects(torch.ones(shape), dims, coords=coords).plot()
    axes.figure.canvas.draw()
    assert labels(axes.yaxis) == rows
    assert len(labels(axes.xaxis)) <= 26


def test_no_effect_at_all_is_drawn_white():
    shown = drawn(plot.heads(effects(torch.zeros(2, 2))))
    assert shown.limits == (-1.0, 1.0)


def test_a_picture_goes_where_it_is_told():
    _, (left, right) = plt.subplots(1, 2)
    assert plot.heads(effects(MEAN), ax=right, title="here") is right
    assert right.get_title() == "here"
    assert not left.images


def test_scores_without_intervals_have_no_marks_and_no_caption():
    axes = plot.heads(torch.tensor([[0.1, 0.9], [0.0, 0.3]]), title="copying")
    shown = drawn(axes)
    assert (axes.get_title(), axes.get_xlabel(), shown.marks) == ("copying", "head", [])
    assert shown.limits == (0.0, pytest.approx(0.9))


def test_numbers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"values of shape \(3,\): give one number a head, \[layer, head\]"):
        plot.heads(torch.zeros(3))


def test_scores_of_what_heads_attend_to_are_a_map_each():
    scores = hw.head_scores(tiny_gpt2(), n_sequences=2)
    figure = scores.plot()
    figure.canvas.draw()
    drawn_maps = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title().replace(" ", "_") for axes in drawn_maps] == list(scores.as_dict())
    np.testing.assert_allclose(drawn_maps[2].images[0].get_array(), scores.induction, rtol=1e-6)
    [one] = [axes for axes in scores.plot("entropy").axes if axes.get_title()]
    np.testing.assert_allclose(one.images[0].get_array(), scores.entropy, rtol=1e-6)
    with pytest.raises(ValueError, match="unknown score 'inductive'; known: previous_token"):
        scores.plot("inductive")


TOKENS = ["When", " Mary", "\n", " 猫", "$x", "$y"]


def maps(layers: int = 2, heads: int = 3, size: int = 8) -> torch.Tensor:
    scores = torch.randn(layers, heads, size, size, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(torch.ones(size, size).triu(1).bool(), -torch.inf).softmax(-1)


def test_attention_is_a_small_map_a_head_named_by_it():
    figure = plot.attention(maps(), TOKENS)
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    shown = figure.axes[4].images[0].get_array()
    expected = maps()[1, 1, :6, :6].sqrt()
    np.testing.assert_allclose(shown.filled(0), expected, rtol=1e-5)
    assert shown.mask.tolist() == torch.ones(6, 6).triu(1).bool().tolist()
    assert "square root" in figure.get_supxlabel()


def test_a_single_head_has_the_tokens_beside_it_as_far_as_the_font_has_them():
    figure = hw.plot.attention(maps(), TOKENS, heads=[(1, 2)])
    figure.canvas.draw()
    [axes] = figure.axes
    assert axes.get_title() == "L1H2"
    assert labels(axes.yaxis) == labels(axes.xaxis) == ["When", "·Mary", "↵", "·□", "$x", "$y"]
    np.testing.assert_allclose(axes.images[0].get_array()[5, 0], maps()[1, 2, 5, 0] ** 0.5, rtol=1e-5)
    alone = plot.attention(maps()[1, 2], TOKENS).axes[0].images[0].get_array()
    assert np.ma.allequal(alone, axes.images[0].get_array())


def beside(figure):
    """The tokens at the left and the lower edge of each map of a grid of two rows and three columns."""
    figure.canvas.draw()
    return [(len(labels(axes.yaxis)), len(labels(axes.xaxis))) for axes in figure.axes]


def test_all_heads_have_the_tokens_at_the_edges_of_the_grid_where_they_fit():
    figure = plot.attention(maps(), TOKENS)
    assert beside(figure) == [(6, 0), (0, 0), (0, 0), (6, 6), (0, 6), (0, 6)]
    assert labels(figure.axes[3].yaxis) == labels(figure.axes[5].xaxis)
    assert labels(figure.axes[3].yaxis)[:3] == ["When", "·Mary", "↵"]


def test_where_the_tokens_do_not_fit_the_caption_says_how_they_would():
    figure = plot.attention(maps(size=36), ["x"] * 36)
    assert beside(figure) == [(0, 0)] * 6
    assert "a few heads= have room for the tokens" in figure.get_supxlabel()
    few = plot.attention(maps(size=36), ["x"] * 36, heads=[(0, 0), (1, 2)])
    assert beside(few) == [(36, 36), (0, 36)]
    assert "heads=" not in few.get_supxlabel()
    longest = plot.attention(maps(size=60), ["x"] * 60)
    assert beside(longest) == [(0, 0)] * 6
    assert "heads=" not in longest.get_supxlabel()  # one head alone has no room either


def test_long_tokens_take_nothing_of_the_maps_that_they_stand_beside():
    figure = plot.attention(maps(1, 5, 20), ["newspapers"] * 20)
    assert beside(figure) == [(20, 20)] + 4 * [(0, 20)]
    for axes in figure.axes:
        assert 72 * axes.get_window_extent().height / figure.dpi / 20 > 9.5  # points; the letters have 8


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: plot.attention(maps()[None], TOKENS), r"maps of shape \(1, 2, 3, 8, 8\) with 6 tokens"),
        (lambda: plot.attention(maps(size=4), TOKENS), "over at least as many positions"),
        (lambda: plot.attention(maps(), TOKENS, heads=[(2, 0)]), r"\(2, 0\) is none of these maps"),
        (lambda: plot.attention(maps(), TOKENS, heads=[]), r"heads=\[\]: give some"),
    ],
)
def test_maps_that_do_not_fit_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"need matplotlib: pip install 'headwatch\[plot\]'"):
        effects(MEAN).plot()


def test_a_result_can_be_computed_and_shown_in_a_notebook_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "<svg" in effects(MEAN)._repr_html_()
