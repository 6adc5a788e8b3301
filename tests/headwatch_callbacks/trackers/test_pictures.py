import numpy as np
import pytest
from PIL import ImageDraw

from headwatch.cell_names import counted
from headwatch.pictures.cell_map import CellMap, cell_map, score_map
from headwatch.pictures.colours import diverging, sequential
from headwatch_callbacks.trackers.pictures import head_map, mosaic

DIMS = ("layer", "head")


def with_errors(mean: np.ndarray, stderr: np.ndarray, n: int = 16) -> CellMap:
    return cell_map(mean, stderr, n, DIMS, counted(DIMS, mean.shape))


def pixels(image):
    return np.asarray(image).reshape(-1, 3)


def count(image, colour):
    return int((pixels(image) == colour).all(1).sum())


def test_a_head_map_colours_each_cell_by_its_value():
    mean = np.array([[0.0, 1.0], [-1.0, np.nan]])
    image = head_map(score_map(mean), title="ablation", limit=2.0)
    for value, colour in zip(mean.ravel(), diverging(mean.ravel(), 2.0), strict=True):
        assert count(image, colour) >= 40 * 40, value


def test_a_head_map_marks_only_the_significant_cells():
    mean, stderr = np.full((2, 2), 0.1), np.full((2, 2), 0.2)
    plain = head_map(with_errors(mean, stderr), title="t", limit=1.0)
    stderr[0, 0] = 0.01
    marked = head_map(with_errors(mean, stderr), title="t", limit=1.0)
    cell = diverging(np.array([0.1]), 1.0)[0]
    assert 20 <= count(plain, cell) - count(marked, cell) <= 100
    changed = np.argwhere((np.asarray(plain) != np.asarray(marked)).any(-1))
    assert np.ptp(changed, axis=0).max() < 12  # one dot, in one cell


def test_a_single_interval_that_leaves_0_out_is_no_mark_among_many_cells():
    # 2.5 standard errors of 16 pairs: p = 0.025, alone below 0.05 and among 100 cells nothing.
    mean, stderr = np.zeros((10, 10)), np.ones((10, 10))
    plain = head_map(with_errors(mean, stderr), title="t", limit=1000.0)
    mean[4, 5] = 2.5
    assert head_map(with_errors(mean, stderr), title="t", limit=1000.0).tobytes() == plain.tobytes()
    mean[4, 5] = 25.0
    assert head_map(with_errors(mean, stderr), title="t", limit=1000.0).tobytes() != plain.tobytes()


def test_a_map_with_intervals_says_by_what_it_marks_and_one_without_does_not():
    mean = np.ones((2, 2))
    without = head_map(score_map(mean), title="t")
    with_marks = head_map(with_errors(mean, np.full((2, 2), 9.0)), title="t")
    assert with_marks.height > without.height
    marks = with_errors(mean, mean).marks
    assert marks == "false discovery rate 5 % over 4 cells (Benjamini-Hochberg)"


def test_rows_and_columns_are_labelled_by_layer_and_head(monkeypatch):
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, **how: written.append(text) or draw(self, at, text, **how),
    )
    coords = {"layer": (9, 10), "neuron": (200, 201)}
    head_map(CellMap(np.ones((2, 2)), ("layer", "neuron"), coords), title="t")
    assert {"9", "10", "200", "201", "layer", "neuron"} <= set(written)
    assert "0" not in written[: written.index("layer")]


def test_the_scale_defaults_to_the_largest_magnitude():
    mean = np.array([[0.5, -2.0]])
    shown = score_map(mean)
    assert head_map(shown, title="t").tobytes() == head_map(shown, title="t", limit=2.0).tobytes()


def test_large_models_and_long_titles_stay_within_reason():
    image = head_map(score_map(np.zeros((48, 25))), title="a" * 500, subtitle="b" * 500)
    assert max(image.size) < 1000
    assert head_map(score_map(np.zeros((12, 300))), title="t").width < 2000


def test_a_mosaic_shows_every_map_in_its_place():
    maps = np.zeros((2, 3, 4, 4))
    maps[1, 2, 3, 0] = 1.0
    image = mosaic(maps, title="attention", subtitle="a prompt")
    found = np.argwhere((np.asarray(image) == sequential(np.array([1.0]), 1.0)[0]).all(-1))
    size = np.ptp(found, axis=0) + 1
    assert size.tolist() == [12, 12]  # one weight, 12 times enlarged
    assert found[:, 0].min() > image.height / 2  # in the second row
    assert found[:, 1].min() > image.width / 4  # in the third column


def test_maps_of_long_prompts_shrink_without_losing_their_peaks():
    maps = np.zeros((1, 2, 300, 300))
    maps[0, 1, 299, 17] = 1.0
    image = mosaic(maps, title="attention")
    assert image.width < 600
    assert count(image, sequential(np.array([1.0]), 1.0)[0]) == 1


def test_a_mosaic_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\[layer, head, query, key\], got \(2, 2\)"):
        mosaic(np.zeros((2, 2)), title="t")
